/* Calls the plugin of examples/plugin-c as a host would, in one program with it, so that a sanitizer sees both:
 * plugin_c_alone FILE ROUNDS. In each round another allocation fails. */
#include <fedaudit_plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Allocations until one fails; none if negative. */
static long until_failure = -1;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);

static int fails(void) { return until_failure >= 0 && until_failure-- == 0; }

void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size) { return fails() ? NULL : __real_calloc(count, size); }
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size) { return fails() ? NULL : __real_realloc(old, size); }

static int64_t now(void *host) {
  (void)host;
  return 0;
}
static int32_t cancelled(void *host) {
  (void)host;
  return 0;
}
static void count(void *host, uint32_t counter, uint64_t amount) {
  (void)host;
  (void)counter;
  (void)amount;
}

static struct fedaudit_slice slice(const char *text) {
  return (struct fedaudit_slice){(const uint8_t *)text, strlen(text)};
}

/* Takes an answer, and says where the next page begins. */
static int taken(struct fedaudit_bytes *out, char *cursor, size_t size) {
  int is_more = 0;
  if (out->length > 0) {
    char *text = __real_calloc(1, out->length + 1);
    memcpy(text, out->data, out->length);
    const char *more = strstr(text, "\"more\": \"");
    if (more != NULL) {
      is_more = 1;
      snprintf(cursor, size, "%.*s", (int)strcspn(more + 9, "\""), more + 9);
    }
    free(text);
  }
  if (out->free != NULL) out->free(out);
  return is_more;
}

/* Everything that a host asks of a source of this file. Returns how many calls failed. */
static int session(const struct fedaudit_table *table, const char *file) {
  struct fedaudit_call call = {.size = sizeof call, .source = slice("one"), .source_key = slice("one"),
                               .deadline = INT64_MAX, .now = now, .cancelled = cancelled, .count = count};
  char settings[512], request[512], cursor[64] = "";
  struct fedaudit_bytes out = {0};
  void *source = NULL;
  int failed = 0;
  snprintf(settings, sizeof settings, "{\"file\": \"%s\"}", file);
  if (table->create(slice("one"), slice(settings), &source, &out) != FEDAUDIT_OK) {
    taken(&out, cursor, sizeof cursor);
    return 1;
  }
  taken(&out, cursor, sizeof cursor);
  for (int is_more = 1; is_more;) {
    struct ArrowSchema schema = {0};
    struct ArrowArray rows = {0};
    snprintf(request, sizeof request,
             "{\"stream\": \"log\", \"window\": {\"from\": null, \"to\": null}, \"predicates\": [], \"page_size\": 3, "
             "\"cursor\": %s%s%s}",
             *cursor ? "\"" : "", *cursor ? cursor : "null", *cursor ? "\"" : "");
    out = (struct fedaudit_bytes){0};
    int32_t status = table->fetch(source, &call, slice(request), &schema, &rows, &out);
    is_more = taken(&out, cursor, sizeof cursor) && status == FEDAUDIT_OK;
    if (status != FEDAUDIT_OK) failed++;
    if ((status == FEDAUDIT_OK) != (rows.release != NULL && schema.release != NULL)) abort();
    if (rows.release != NULL) {
      /* A child that was moved out lives on alone. */
      struct ArrowArray moved = *rows.children[0];
      struct ArrowSchema of = *schema.children[0];
      rows.children[0]->release = NULL;
      schema.children[0]->release = NULL;
      rows.release(&rows);
      schema.release(&schema);
      if (moved.n_children != 1 || moved.children[0]->length != moved.length) abort();
      moved.release(&moved);
      of.release(&of);
    }
  }
  out = (struct fedaudit_bytes){0};
  if (table->check(source, &call, &out) != FEDAUDIT_OK) failed++;
  taken(&out, cursor, sizeof cursor);
  out = (struct fedaudit_bytes){0};
  if (table->close(source, &call, &out) != FEDAUDIT_OK) failed++;
  taken(&out, cursor, sizeof cursor);
  table->release(source);
  return failed;
}

int main(int arguments, char **argument) {
  if (arguments != 3) return 2;
  const struct fedaudit_table *table = fedaudit_plugin();
  if (session(table, argument[1]) != 0) return 3;
  int refused = 0;
  long rounds = strtol(argument[2], NULL, 10);
  for (long round = 0; round < rounds; round++) {
    until_failure = round;
    refused += session(table, argument[1]);
  }
  printf("%d calls without memory failed\n", refused);
  return refused == 0;
}
