/* A plugin on the bare table, whose macros say what is wrong with it. */
#define _POSIX_C_SOURCE 200809L
#include <fedaudit_plugin.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef MAJOR
#define MAJOR FEDAUDIT_ABI_MAJOR
#endif
#ifndef SIZE
#define SIZE sizeof(struct fedaudit_table)
#endif
#ifndef TYPE
#define TYPE "{\"type\": \"odd-c\"}"
#endif
#ifndef NAME
#define NAME fedaudit_plugin
#endif
#ifndef ROWS
#define ROWS nothing
#endif
#ifndef PAGE
#define PAGE "{\"next\": {\"end\": \"single_page\"}}"
#endif

#ifdef AT_LOAD
#define END abort()
#define WAIT for (;;) pause()
/* Runs before anything of the table is asked for. */
__attribute__((constructor)) static void at_load(void) { AT_LOAD; }
#endif

/* Fetches that run, and sources that were released. */
static atomic_int running, released;

static void say(struct fedaudit_bytes *out, const char *text) {
  out->data = (uint8_t *)text; /* a literal: nothing to free */
  out->length = strlen(text);
  out->capacity = 0;
  out->free = NULL;
}

static int32_t start(const struct fedaudit_host *host, struct fedaudit_bytes *out) {
  (void)host;
  say(out, TYPE);
  return FEDAUDIT_OK;
}

static int32_t create(struct fedaudit_slice name, struct fedaudit_slice settings, void **source, struct fedaudit_bytes *out) {
  (void)name;
  (void)settings;
  *source = NULL;
  say(out, "{\"product\": \"odd\", \"plugin\": \"odd-c\", \"plugin_version\": \"1\", \"origin\": \"https://odd.example\","
           "\"streams\": [{\"name\": \"log\", \"kind\": \"events\"}]}");
  return FEDAUDIT_OK;
}

static int32_t check(void *source, const struct fedaudit_call *call, struct fedaudit_bytes *out) {
  (void)source;
  (void)call;
#ifdef WORDLESS
  say(out, "out of order");
  return 7;
#else
  static char health[64];
  snprintf(health, sizeof health, "{\"notes\": [\"%d run, %d released\"]}", running, released);
  say(out, health);
  return FEDAUDIT_OK;
#endif
}

static int32_t close_(void *source, const struct fedaudit_call *call, struct fedaudit_bytes *out) {
  (void)source;
  (void)call;
  say(out, "null");
  return FEDAUDIT_OK;
}

static void release_schema(struct ArrowSchema *schema) { schema->release = NULL; }
static void release_array(struct ArrowArray *array) { array->release = NULL; }

static const void *buffers[3];
static struct ArrowSchema child_schema, *schemas[1] = {&child_schema};
static struct ArrowArray child_array, *arrays[1] = {&child_array};

/* One column of texts, "time" by name, or what the macros make of it. */
static void column(struct ArrowSchema *schema, struct ArrowArray *array, const char *format, const void *data) {
  static const int32_t offsets[3] = {0, 1, 2};
  memset(schema, 0, sizeof *schema);
  memset(array, 0, sizeof *array);
  memset(&child_schema, 0, sizeof child_schema);
  memset(&child_array, 0, sizeof child_array);
  buffers[0] = NULL;
  buffers[1] = offsets;
  buffers[2] = data;
  child_schema.format = format;
  child_schema.name = "time";
  child_schema.flags = ARROW_FLAG_NULLABLE;
  child_schema.release = release_schema;
  child_array.length = 2;
  child_array.n_buffers = 3;
  child_array.buffers = buffers;
  child_array.release = release_array;
  static const void *none[1] = {NULL};
  schema->format = "+s";
  schema->name = "";
  schema->n_children = 1;
  schema->children = schemas;
  schema->release = release_schema;
  array->length = 2;
  array->n_buffers = 1;
  array->buffers = none;
  array->n_children = 1;
  array->children = arrays;
  array->release = release_array;
}

static int32_t nothing(struct ArrowSchema *schema, struct ArrowArray *rows) {
  (void)schema;
  (void)rows;
  return FEDAUDIT_OK;
}
static int32_t strange(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "u", "ab");
  return FEDAUDIT_OK;
}
static int32_t no_utf8(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "u", "\xff\xfe");
  return FEDAUDIT_OK;
}
static int32_t null_buffer(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "u", "ab");
  buffers[1] = NULL;
  return FEDAUDIT_OK;
}
static int32_t few_buffers(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "u", "ab");
  child_array.n_buffers = 1;
  return FEDAUDIT_OK;
}
static int32_t short_child(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "u", "ab");
  rows->length = 5;
  return FEDAUDIT_OK;
}
static int32_t unknown_format(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "!", "ab");
  return FEDAUDIT_OK;
}
static int32_t no_children(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "u", "ab");
  rows->n_children = 0;
  return FEDAUDIT_OK;
}

static int32_t crash(struct ArrowSchema *schema, struct ArrowArray *rows) {
  (void)schema;
  (void)rows;
  *(volatile int *)8 = 1;
  return FEDAUDIT_OK;
}
static int32_t wild_offsets(struct ArrowSchema *schema, struct ArrowArray *rows) {
  static const int32_t wild[3] = {0, 1, 2000000000};
  column(schema, rows, "u", "ab");
  buffers[1] = wild;
  return FEDAUDIT_OK;
}
static int32_t null_children(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "u", "ab");
  rows->children = NULL;
  return FEDAUDIT_OK;
}
static int32_t null_child(struct ArrowSchema *schema, struct ArrowArray *rows) {
  static struct ArrowArray *none[1];
  column(schema, rows, "u", "ab");
  rows->children = none;
  return FEDAUDIT_OK;
}
static int32_t null_buffers(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "u", "ab");
  child_array.buffers = NULL;
  return FEDAUDIT_OK;
}
static int32_t null_format(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, NULL, "ab");
  return FEDAUDIT_OK;
}
static int32_t null_schemas(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "u", "ab");
  schema->children = NULL;
  return FEDAUDIT_OK;
}
static int32_t no_schema(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "u", "ab");
  memset(schema, 0, sizeof *schema);
  return FEDAUDIT_OK;
}
static int32_t released_child(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "u", "ab");
  child_array.release = NULL;
  return FEDAUDIT_OK;
}
static int32_t negative_length(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "u", "ab");
  child_array.length = -2;
  return FEDAUDIT_OK;
}
static int32_t falling_offsets(struct ArrowSchema *schema, struct ArrowArray *rows) {
  static const int32_t falling[3] = {0, 2, 1};
  column(schema, rows, "u", "ab");
  buffers[1] = falling;
  return FEDAUDIT_OK;
}
static int32_t nulls_without_bits(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "u", "ab");
  child_array.null_count = 2;
  return FEDAUDIT_OK;
}
static int32_t null_row(struct ArrowSchema *schema, struct ArrowArray *rows) {
  static const uint8_t bits[1] = {1};
  static const void *valid[1] = {bits};
  column(schema, rows, "u", "ab");
  rows->null_count = 1;
  rows->buffers = valid;
  return FEDAUDIT_OK;
}
static int32_t deep(struct ArrowSchema *schema, struct ArrowArray *rows) {
  column(schema, rows, "+s", "ab");
  child_schema.n_children = 1;
  child_schema.children = schemas;
  child_array.n_children = 1;
  child_array.children = arrays;
  return FEDAUDIT_OK;
}
static int32_t slow(struct ArrowSchema *schema, struct ArrowArray *rows) {
  static const struct timespec moment = {0, 500000000};
  running++;
  nanosleep(&moment, NULL);
  running--;
  return strange(schema, rows);
}

static int32_t fetch(void *source, const struct fedaudit_call *call, struct fedaudit_slice request, struct ArrowSchema *schema,
                     struct ArrowArray *rows, struct fedaudit_bytes *out) {
  (void)source;
  (void)call;
  (void)request;
  /* Every function is used, whatever the macro says. */
  int32_t (*const all[])(struct ArrowSchema *, struct ArrowArray *) = {
      nothing,      strange,        no_utf8,         null_buffer,     few_buffers,        short_child, unknown_format,
      no_children,  crash,          wild_offsets,    null_children,   null_child,         null_buffers, null_format,
      null_schemas, released_child, negative_length, falling_offsets, nulls_without_bits, null_row,    deep,
      no_schema,    slow};
  (void)all;
  say(out, PAGE);
  return ROWS(schema, rows);
}

#ifdef NO_FETCH
#define FETCH NULL
#else
#define FETCH fetch
#endif

/* Nothing of a source may run when it is released. */
static void release(void *source) {
  (void)source;
  if (running) abort();
  released++;
}

const struct fedaudit_table *NAME(void);
const struct fedaudit_table *NAME(void) {
  static struct fedaudit_table table;
  table.abi_major = MAJOR;
  table.abi_minor = FEDAUDIT_ABI_MINOR;
  table.size = SIZE;
  table.start = start;
  table.create = create;
  table.check = check;
  table.fetch = FETCH;
  table.close = close_;
  table.release = release;
  (void)fetch;
#ifdef NO_TABLE
  return table.size ? NULL : &table;
#else
  return &table;
#endif
}
