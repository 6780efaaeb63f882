/*
 * A source plugin in one C file: it serves the events of a file, one JSON object on each line.
 *
 *   {"id": "17", "time": "2026-01-05T08:00:00Z", "what": "login", "result": "ok", "user": "ana", "from": "192.0.2.7"}
 *
 * `id`, `time` and `what` are needed; `result` ("ok" or "failed"), `user`, `from` and `text` are not. All are strings.
 * A line that is not exactly so is handed over as a rejected record, with its bytes and the reason, and the others come
 * all the same.
 *
 * Nothing here changes after `create`, so that calls may run at once without locks. A cursor is the offset of the next
 * line.
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <fedaudit_plugin.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TYPE "event-file"
#define VERSION "1"
#define STREAM "log"

/* A longer line is no event. */
#define MOST_OF_A_LINE ((size_t)1 << 20)
/* What a page holds if nothing else is wanted, and what it holds at most: its offsets are 32-bit numbers. */
#define USUAL_PAGE 1000
#define LARGEST_PAGE 10000
#define MOST_OF_A_PAGE ((size_t)8 << 20)
/* Lines between two looks at whether anybody still waits. */
#define LOOK_UP_EVERY 256
/* Deeper JSON than this is not ours. */
#define DEEPEST 32

/* ---- Bytes that grow. One that could not grow stays as it is and says so: it is looked at once, at the end. ---- */

struct bytes {
  uint8_t *data;
  size_t length;
  size_t capacity;
  bool failed;
};

static void put(struct bytes *bytes, const void *data, size_t length) {
  if (bytes->failed) return;
  if (length > bytes->capacity - bytes->length) {
    size_t capacity = bytes->capacity ? bytes->capacity : 64;
    while (capacity - bytes->length < length) {
      if (capacity > SIZE_MAX / 2) {
        bytes->failed = true;
        return;
      }
      capacity *= 2;
    }
    uint8_t *grown = realloc(bytes->data, capacity);
    if (grown == NULL) {
      bytes->failed = true;
      return;
    }
    bytes->data = grown;
    bytes->capacity = capacity;
  }
  if (length > 0) memcpy(bytes->data + bytes->length, data, length);
  bytes->length += length;
}

static void put_text(struct bytes *bytes, const char *text) { put(bytes, text, strlen(text)); }

static void drop(struct bytes *bytes) {
  free(bytes->data);
  *bytes = (struct bytes){0};
}

/* ---- UTF-8 and JSON, out ---- */

/* Bytes of the character that begins here; 0 if none does. */
static size_t character(const uint8_t *at, const uint8_t *end) {
  size_t left = (size_t)(end - at);
  if (left == 0) return 0;
  if (at[0] < 0x80) return 1;
  size_t length = at[0] >= 0xF0 ? 4 : at[0] >= 0xE0 ? 3 : 2;
  if (at[0] < 0xC2 || at[0] > 0xF4 || left < length) return 0;
  for (size_t i = 1; i < length; i++)
    if ((at[i] & 0xC0) != 0x80) return 0;
  /* Long forms, surrogates, and what lies behind the last character. */
  if ((at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xED && at[1] > 0x9F)) return 0;
  if ((at[0] == 0xF0 && at[1] < 0x90) || (at[0] == 0xF4 && at[1] > 0x8F)) return 0;
  return length;
}

/* A JSON string of any bytes; what is no UTF-8 becomes the replacement character. */
static void put_string(struct bytes *out, const uint8_t *data, size_t length) {
  const uint8_t *end = data + length;
  put_text(out, "\"");
  while (data < end) {
    size_t whole = character(data, end);
    if (whole == 0) {
      put_text(out, "\xEF\xBF\xBD");
      data++;
    } else if (*data < 0x20 || *data == '"' || *data == '\\') {
      char escaped[8];
      snprintf(escaped, sizeof escaped, "\\u%04x", *data);
      put_text(out, escaped);
      data++;
    } else {
      put(out, data, whole);
      data += whole;
    }
  }
  put_text(out, "\"");
}

/* ---- JSON, in: a strict reader over bytes that are there as a whole ---- */

struct scan {
  const uint8_t *at;
  const uint8_t *end;
};

static void skip_space(struct scan *scan) {
  while (scan->at < scan->end && *scan->at != 0 && strchr(" \t\n\r", *scan->at) != NULL) scan->at++;
}

/* Takes a sign, and the space before it. */
static bool take(struct scan *scan, uint8_t sign) {
  skip_space(scan);
  if (scan->at == scan->end || *scan->at != sign) return false;
  scan->at++;
  return true;
}

static bool take_word(struct scan *scan, const char *word) {
  size_t length = strlen(word);
  skip_space(scan);
  if ((size_t)(scan->end - scan->at) < length || memcmp(scan->at, word, length) != 0) return false;
  scan->at += length;
  return true;
}

static bool take_hex(struct scan *scan, uint32_t *unit) {
  *unit = 0;
  for (int i = 0; i < 4; i++, scan->at++) {
    if (scan->at == scan->end) return false;
    uint8_t digit = *scan->at;
    if (digit >= '0' && digit <= '9')
      *unit = *unit << 4 | (uint32_t)(digit - '0');
    else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f')
      *unit = *unit << 4 | (uint32_t)((digit | 0x20) - 'a' + 10);
    else
      return false;
  }
  return true;
}

static bool take_escape(struct scan *scan, struct bytes *text) {
  static const char signs[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  if (scan->at == scan->end) return false;
  uint8_t sign = *scan->at++;
  const char *known = sign ? strchr(signs, sign) : NULL;
  if (known != NULL) {
    put(text, &meant[known - signs], 1);
    return true;
  }
  uint32_t code, low;
  if (sign != 'u' || !take_hex(scan, &code)) return false;
  if (code >= 0xDC00 && code <= 0xDFFF) return false;
  if (code >= 0xD800 && code <= 0xDBFF) {
    if (scan->end - scan->at < 2 || scan->at[0] != '\\' || scan->at[1] != 'u') return false;
    scan->at += 2;
    if (!take_hex(scan, &low) || low < 0xDC00 || low > 0xDFFF) return false;
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  uint8_t utf8[4];
  size_t length;
  if (code < 0x80) {
    utf8[0] = (uint8_t)code;
    length = 1;
  } else if (code < 0x800) {
    utf8[0] = (uint8_t)(0xC0 | code >> 6);
    length = 2;
  } else if (code < 0x10000) {
    utf8[0] = (uint8_t)(0xE0 | code >> 12);
    length = 3;
  } else {
    utf8[0] = (uint8_t)(0xF0 | code >> 18);
    length = 4;
  }
  for (size_t i = 1; i < length; i++) utf8[i] = (uint8_t)(0x80 | (code >> (6 * (length - 1 - i)) & 0x3F));
  put(text, utf8, length);
  return true;
}

/* Takes a string and adds what it means to `text`. */
static bool take_string(struct scan *scan, struct bytes *text) {
  if (!take(scan, '"')) return false;
  for (;;) {
    size_t whole = character(scan->at, scan->end);
    if (whole == 0 || *scan->at < 0x20) return false;
    if (*scan->at == '"') {
      scan->at++;
      return true;
    }
    if (*scan->at == '\\') {
      scan->at++;
      if (!take_escape(scan, text)) return false;
    } else {
      put(text, scan->at, whole);
      scan->at += whole;
    }
  }
}

/* Takes a number without sign, point or exponent. */
static bool take_number(struct scan *scan, uint64_t *number) {
  skip_space(scan);
  const uint8_t *begun = scan->at;
  *number = 0;
  for (; scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9'; scan->at++) {
    uint64_t digit = (uint64_t)(*scan->at - '0');
    if (*number > (UINT64_MAX - digit) / 10) return false;
    *number = *number * 10 + digit;
  }
  return scan->at > begun;
}

/* Takes a value that does not concern us. Its numbers are not looked at closely: who wrote it is the host. */
static bool skip_value(struct scan *scan, int depth) {
  if (depth > DEEPEST) return false;
  skip_space(scan);
  if (scan->at == scan->end) return false;
  if (*scan->at == '"') {
    struct bytes unused = {0};
    bool taken = take_string(scan, &unused);
    drop(&unused);
    return taken;
  }
  if (*scan->at == '{' || *scan->at == '[') {
    bool is_object = *scan->at++ == '{';
    uint8_t closing = is_object ? '}' : ']';
    if (take(scan, closing)) return true;
    do {
      if (is_object && (!skip_value(scan, depth + 1) || !take(scan, ':'))) return false;
      if (!skip_value(scan, depth + 1)) return false;
    } while (take(scan, ','));
    return take(scan, closing);
  }
  if (take_word(scan, "null") || take_word(scan, "true") || take_word(scan, "false")) return true;
  const uint8_t *begun = scan->at;
  while (scan->at < scan->end && strchr("+-.0123456789eE", *scan->at) != NULL && *scan->at) scan->at++;
  return scan->at > begun;
}

/* The next member of an object: its name; then the reader stands before its value. `first` is true before the first. */
static bool next_member(struct scan *scan, bool *first, struct bytes *name) {
  if (!*first && !take(scan, ',')) return false;
  *first = false;
  name->length = 0;
  return take_string(scan, name) && take(scan, ':');
}

static bool is(const struct bytes *text, const char *word) {
  return text->length == strlen(word) && memcmp(text->data, word, text->length) == 0;
}

static bool at_end(struct scan *scan) {
  skip_space(scan);
  return scan->at == scan->end;
}

/* ---- Answers ---- */

static void give_back(struct fedaudit_bytes *bytes) {
  free(bytes->data);
  *bytes = (struct fedaudit_bytes){0};
}

/* A text that lives as long as the library. */
static void say_literal(struct fedaudit_bytes *out, const char *text) {
  *out = (struct fedaudit_bytes){.data = (uint8_t *)text, .length = strlen(text)};
}

static int32_t no_memory(struct fedaudit_bytes *out) {
  say_literal(out, "{\"kind\": \"internal\", \"message\": \"no memory\"}");
  return FEDAUDIT_FAILED;
}

/* Hands the bytes over. */
static int32_t say(struct fedaudit_bytes *out, struct bytes *text, int32_t status) {
  if (text->failed) {
    drop(text);
    return no_memory(out);
  }
  *out = (struct fedaudit_bytes){text->data, text->length, text->capacity, give_back};
  return status;
}

/* `kind` is one of fedaudit's kinds of error; `place` and `hint` may be NULL. */
static int32_t fail(struct fedaudit_bytes *out, const char *kind, const char *message, const char *place,
                    const char *hint) {
  struct bytes text = {0};
  put_text(&text, "{\"kind\": \"");
  put_text(&text, kind);
  put_text(&text, "\", \"message\": ");
  put_string(&text, (const uint8_t *)message, strlen(message));
  if (place != NULL) {
    put_text(&text, ", \"place\": ");
    put_string(&text, (const uint8_t *)place, strlen(place));
  }
  if (hint != NULL) {
    put_text(&text, ", \"hint\": ");
    put_string(&text, (const uint8_t *)hint, strlen(hint));
  }
  put_text(&text, "}");
  return say(out, &text, FEDAUDIT_FAILED);
}

/* ---- Times and addresses ---- */

static bool digits(const uint8_t *at, int count, int64_t *number) {
  *number = 0;
  for (int i = 0; i < count; i++) {
    if (at[i] < '0' || at[i] > '9') return false;
    *number = *number * 10 + (at[i] - '0');
  }
  return true;
}

/* Days since 1970-01-01 of a date of the Gregorian calendar. */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
  static const int64_t before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  int64_t earlier = year - 1;
  int64_t days = 365 * earlier + earlier / 4 - earlier / 100 + earlier / 400;
  return days - 719162 + before[month - 1] + (month > 2 && is_leap ? 1 : 0) + day - 1;
}

/* Reads `2026-01-05T08:00:00Z`, with up to nine digits of a second's fraction, in microseconds. */
static bool read_time(const struct bytes *text, int64_t *micros, bool *is_exact) {
  static const int64_t longest[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const uint8_t *at = text->data;
  int64_t year, month, day, hour, minute, second, fraction = 0;
  if (text->length < 20 || text->length > 30 || at[text->length - 1] != 'Z') return false;
  if (at[4] != '-' || at[7] != '-' || at[10] != 'T' || at[13] != ':' || at[16] != ':') return false;
  if (!digits(at, 4, &year) || !digits(at + 5, 2, &month) || !digits(at + 8, 2, &day)) return false;
  if (!digits(at + 11, 2, &hour) || !digits(at + 14, 2, &minute) || !digits(at + 17, 2, &second)) return false;
  bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (year < 1970 || year > 2261 || month < 1 || month > 12 || day < 1 || day > longest[month - 1]) return false;
  if ((month == 2 && day == 29 && !is_leap) || hour > 23 || minute > 59 || second > 59) return false;
  *is_exact = text->length > 20;
  if (*is_exact) {
    if (at[19] != '.' || text->length < 22) return false;
    for (size_t i = 20; i < text->length - 1; i++) {
      if (at[i] < '0' || at[i] > '9') return false;
      if (i < 26) fraction = fraction * 10 + (at[i] - '0');
    }
    for (size_t i = text->length - 1; i < 26; i++) fraction *= 10;
  }
  *micros = (((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1000000 + fraction;
  return true;
}

/* The canonical text of eight groups: lower case, the longest run of two or more zeros left out. */
static void write_v6(const uint8_t address[16], char text[INET6_ADDRSTRLEN]) {
  int from = -1, most = 1;
  for (int at = 0; at < 8;) {
    int run = 0;
    while (at + run < 8 && address[2 * (at + run)] == 0 && address[2 * (at + run) + 1] == 0) run++;
    if (run > most) {
      most = run;
      from = at;
    }
    at += run + 1;
  }
  char *end = text;
  for (int at = 0; at < 8; at++) {
    if (at == from) {
      end += sprintf(end, "::");
      at += most - 1;
      continue;
    }
    bool needs_colon = at > 0 && at != from + most;
    end += sprintf(end, "%s%x", needs_colon ? ":" : "", (unsigned)(address[2 * at] << 8 | address[2 * at + 1]));
  }
}

/* The address in canonical text, and the word for what the field held. */
static const char *read_address(const struct bytes *given, char ip[INET6_ADDRSTRLEN]) {
  static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
  static const uint8_t loopback[16] = {[15] = 1};
  char text[INET6_ADDRSTRLEN];
  uint8_t address[16];
  ip[0] = 0;
  if (given->length == 0) return "none";
  if (given->length >= sizeof text || memchr(given->data, 0, given->length) != NULL) return "unparsed";
  memcpy(text, given->data, given->length);
  text[given->length] = 0;
  if (inet_pton(AF_INET, text, address + 12) == 1) {
    memcpy(address, mapped, sizeof mapped);
  } else if (inet_pton(AF_INET6, text, address) != 1) {
    return "unparsed";
  }
  if (memcmp(address, mapped, sizeof mapped) == 0) {
    snprintf(ip, INET6_ADDRSTRLEN, "%d.%d.%d.%d", address[12], address[13], address[14], address[15]);
    return address[12] == 127 ? "loopback" : "ip";
  }
  write_v6(address, ip);
  return memcmp(address, loopback, sizeof loopback) == 0 ? "loopback" : "ip";
}

/* ---- Columns. What the table has besides may be NULL, or follows from these: the host fills it. ---- */

enum kind { TEXT, TIME, INT32, LIST };

enum {
  EVENT_KEY_PARTS, TIME_AT, TIME_ORIGINAL, TIME_QUALITY, EVENT_CODE, ACTION, OUTCOME, SEVERITY_ID, MESSAGE, USER_NAME,
  USER_ORIGINAL, USER_TYPE, SRC_IP, SRC_KIND, SRC_ORIGINAL, RECORD_ID, QUALITY_FLAGS, RAW, COLUMNS
};

static const struct {
  const char *name;
  enum kind kind;
  bool needed;
} columns[COLUMNS] = {
    [EVENT_KEY_PARTS] = {"event_key_parts", LIST, true}, [TIME_AT] = {"time", TIME, true},
    [TIME_ORIGINAL] = {"time_original", TEXT, false},    [TIME_QUALITY] = {"time_quality", TEXT, true},
    [EVENT_CODE] = {"event_code", TEXT, true},           [ACTION] = {"action", TEXT, true},
    [OUTCOME] = {"outcome", TEXT, true},                 [SEVERITY_ID] = {"severity_id", INT32, true},
    [MESSAGE] = {"message", TEXT, false},                [USER_NAME] = {"user_name", TEXT, false},
    [USER_ORIGINAL] = {"user_original", TEXT, false},    [USER_TYPE] = {"user_type", TEXT, true},
    [SRC_IP] = {"src_ip", TEXT, false},                  [SRC_KIND] = {"src_kind", TEXT, true},
    [SRC_ORIGINAL] = {"src_original", TEXT, false},      [RECORD_ID] = {"record_id", TEXT, false},
    [QUALITY_FLAGS] = {"quality_flags", LIST, false},    [RAW] = {"raw", TEXT, true},
};

static const char *const formats[] = {[TEXT] = "u", [TIME] = "tsu:UTC", [INT32] = "i", [LIST] = "+l"};

/* A column while it grows. A list has items, which are texts. */
struct column {
  int64_t length;
  int64_t nulls;
  struct bytes valid;
  struct bytes offsets;
  struct bytes values;
  int64_t items;
  struct bytes item_offsets;
};

struct page {
  struct column columns[COLUMNS];
};

static void put_offset(struct bytes *offsets, size_t offset) {
  int32_t number = (int32_t)offset;
  put(offsets, &number, sizeof number);
}

static void begin(struct page *page) {
  memset(page, 0, sizeof *page);
  for (int at = 0; at < COLUMNS; at++) {
    struct column *column = &page->columns[at];
    if (columns[at].kind == TEXT || columns[at].kind == LIST) put_offset(&column->offsets, 0);
    if (columns[at].kind == LIST) put_offset(&column->item_offsets, 0);
  }
}

static void drop_page(struct page *page) {
  for (int at = 0; at < COLUMNS; at++) {
    struct column *column = &page->columns[at];
    drop(&column->valid);
    drop(&column->offsets);
    drop(&column->values);
    drop(&column->item_offsets);
  }
}

static bool page_failed(const struct page *page) {
  for (int at = 0; at < COLUMNS; at++) {
    const struct column *column = &page->columns[at];
    if (column->valid.failed || column->offsets.failed) return true;
    if (column->values.failed || column->item_offsets.failed) return true;
  }
  return false;
}

/* Ends a cell: whether it holds something. */
static void end_cell(struct column *column, bool is_valid) {
  static const uint8_t empty = 0;
  if (column->length % 8 == 0) put(&column->valid, &empty, 1);
  if (column->valid.failed) return;
  if (is_valid)
    column->valid.data[column->length / 8] |= (uint8_t)(1u << column->length % 8);
  else
    column->nulls++;
  column->length++;
}

/* A text; no bytes are no text. */
static void add_text(struct page *page, int at, const void *text, size_t length) {
  struct column *column = &page->columns[at];
  put(&column->values, text, length);
  put_offset(&column->offsets, column->values.length);
  end_cell(column, length > 0);
}

static void add_word(struct page *page, int at, const char *word) { add_text(page, at, word, strlen(word)); }

/* A list of one text; no bytes are no list. */
static void add_list(struct page *page, int at, const void *text, size_t length) {
  struct column *column = &page->columns[at];
  if (length > 0) {
    put(&column->values, text, length);
    put_offset(&column->item_offsets, column->values.length);
    column->items++;
  }
  put_offset(&column->offsets, (size_t)column->items);
  end_cell(column, length > 0);
}

/* A number of as many bytes as its column has. */
static void add_number(struct page *page, int at, const void *number, size_t size) {
  put(&page->columns[at].values, number, size);
  end_cell(&page->columns[at], true);
}

/* ---- Columns as the Arrow C Data Interface hands them over. Each child owns what it has: it may be moved. ---- */

struct held_schema {
  struct ArrowSchema item;
  struct ArrowSchema *children[1];
};

struct held_array {
  const void *buffers[3];
  const void *item_buffers[3];
  struct ArrowArray item;
  struct ArrowArray *children[1];
};

struct held_page {
  struct ArrowSchema schemas[COLUMNS];
  struct ArrowSchema *schema_pointers[COLUMNS];
};

struct held_rows {
  struct ArrowArray arrays[COLUMNS];
  struct ArrowArray *array_pointers[COLUMNS];
  const void *buffers[1];
};

static void release_item_schema(struct ArrowSchema *schema) { schema->release = NULL; }

static void release_column_schema(struct ArrowSchema *schema) {
  for (int64_t i = 0; i < schema->n_children; i++)
    if (schema->children[i]->release != NULL) schema->children[i]->release(schema->children[i]);
  free(schema->private_data);
  schema->release = NULL;
}

static bool hand_over_schema(struct ArrowSchema *schema) {
  struct held_page *held = calloc(1, sizeof *held);
  if (held == NULL) return false;
  *schema = (struct ArrowSchema){.format = "+s",
                                 .name = "",
                                 .n_children = COLUMNS,
                                 .children = held->schema_pointers,
                                 .release = release_column_schema,
                                 .private_data = held};
  for (int at = 0; at < COLUMNS; at++) held->schema_pointers[at] = &held->schemas[at];
  for (int at = 0; at < COLUMNS; at++) {
    struct ArrowSchema *column = &held->schemas[at];
    *column = (struct ArrowSchema){.format = formats[columns[at].kind],
                                   .name = columns[at].name,
                                   .flags = columns[at].needed ? 0 : ARROW_FLAG_NULLABLE,
                                   .release = release_column_schema};
    if (columns[at].kind != LIST) continue;
    struct held_schema *list = calloc(1, sizeof *list);
    if (list == NULL) {
      /* Those behind this one were never made: their `release` is NULL. */
      release_column_schema(schema);
      return false;
    }
    list->item = (struct ArrowSchema){
        .format = "u", .name = "item", .flags = ARROW_FLAG_NULLABLE, .release = release_item_schema};
    list->children[0] = &list->item;
    column->n_children = 1;
    column->children = list->children;
    column->private_data = list;
  }
  return true;
}

static void release_item(struct ArrowArray *array) {
  free((void *)array->buffers[1]);
  free((void *)array->buffers[2]);
  array->release = NULL;
}

static void release_column(struct ArrowArray *array) {
  for (int64_t i = 0; i < array->n_buffers; i++) free((void *)array->buffers[i]);
  for (int64_t i = 0; i < array->n_children; i++)
    if (array->children[i]->release != NULL) array->children[i]->release(array->children[i]);
  free(array->private_data);
  array->release = NULL;
}

static void release_rows(struct ArrowArray *rows) {
  for (int64_t i = 0; i < rows->n_children; i++)
    if (rows->children[i]->release != NULL) rows->children[i]->release(rows->children[i]);
  free(rows->private_data);
  rows->release = NULL;
}

/* The bytes of a buffer, which the array owns from now on. */
static const void *taken(struct bytes *bytes) {
  const void *data = bytes->data;
  *bytes = (struct bytes){0};
  return data;
}

static bool hand_over_column(struct column *column, enum kind kind, struct ArrowArray *array) {
  struct held_array *held = calloc(1, sizeof *held);
  if (held == NULL) return false;
  *array = (struct ArrowArray){.length = column->length,
                               .null_count = column->nulls,
                               .n_buffers = kind == TEXT ? 3 : 2,
                               .buffers = held->buffers,
                               .release = release_column,
                               .private_data = held};
  held->buffers[0] = taken(&column->valid);
  held->buffers[1] = taken(kind == TEXT || kind == LIST ? &column->offsets : &column->values);
  if (kind == TEXT) held->buffers[2] = taken(&column->values);
  if (kind == LIST) {
    held->item_buffers[1] = taken(&column->item_offsets);
    held->item_buffers[2] = taken(&column->values);
    held->item = (struct ArrowArray){
        .length = column->items, .n_buffers = 3, .buffers = held->item_buffers, .release = release_item};
    held->children[0] = &held->item;
    array->n_children = 1;
    array->children = held->children;
  }
  return true;
}

/* The page as rows; it is empty afterwards. */
static bool hand_over(struct page *page, struct ArrowSchema *schema, struct ArrowArray *rows) {
  struct held_rows *held = page_failed(page) ? NULL : calloc(1, sizeof *held);
  bool done = held != NULL && hand_over_schema(schema);
  if (done) {
    *rows = (struct ArrowArray){.length = page->columns[0].length,
                                .n_buffers = 1,
                                .n_children = COLUMNS,
                                .buffers = held->buffers,
                                .children = held->array_pointers,
                                .release = release_rows,
                                .private_data = held};
    for (int at = 0; at < COLUMNS; at++) held->array_pointers[at] = &held->arrays[at];
    for (int at = 0; at < COLUMNS && done; at++)
      done = hand_over_column(&page->columns[at], columns[at].kind, &held->arrays[at]);
    if (!done) {
      schema->release(schema);
      rows->release(rows);
    }
  } else {
    free(held);
  }
  drop_page(page);
  return done;
}

/* ---- A line of the file ---- */

enum { ID, WHEN, WHAT, RESULT, USER, FROM, WORDS, MEMBERS };
static const char *const members[MEMBERS] = {"id", "time", "what", "result", "user", "from", "text"};

struct record {
  struct bytes members[MEMBERS];
  int64_t micros;
  bool is_exact;
};

/* What the file calls an action, and what fedaudit does. Everything else is 'other'. */
static const struct {
  const char *what;
  const char *action;
} actions[] = {
    {"login", "auth.login"},   {"logout", "auth.logout"}, {"read", "file.read"},
    {"write", "file.write"},   {"delete", "file.delete"}, {"change", "config.update"},
    {"run", "exec.run"},
};

/* Reads a line, or says what is wrong with it. */
static const char *read_record(struct scan line, struct record *record) {
  bool seen[MEMBERS] = {false};
  struct bytes name = {0};
  const char *wrong = NULL;
  bool first = true;
  for (int at = 0; at < MEMBERS; at++) record->members[at].length = 0;
  if (!take(&line, '{')) return "it is no JSON object";
  while (wrong == NULL && !take(&line, '}')) {
    if (!next_member(&line, &first, &name)) {
      wrong = "it is no JSON object of strings";
      break;
    }
    int at = 0;
    while (at < MEMBERS && !is(&name, members[at])) at++;
    if (at == MEMBERS)
      wrong = "it has a member that is not known";
    else if (seen[at])
      wrong = "it has a member twice";
    else if (!take_string(&line, &record->members[at]))
      wrong = "a member is no string of UTF-8";
    else
      seen[at] = true;
  }
  bool failed = name.failed;
  drop(&name);
  for (int at = 0; at < MEMBERS; at++) failed = failed || record->members[at].failed;
  if (failed) return "there is no memory for it";
  if (wrong != NULL) return wrong;
  if (!at_end(&line)) return "something follows the JSON object";
  if (record->members[ID].length == 0) return "`id` is missing";
  if (record->members[WHAT].length == 0) return "`what` is missing";
  if (record->members[WHEN].length == 0) return "`time` is missing";
  if (!read_time(&record->members[WHEN], &record->micros, &record->is_exact)) return "`time` is no UTC time";
  const struct bytes *result = &record->members[RESULT];
  if (result->length > 0 && !is(result, "ok") && !is(result, "failed")) return "`result` is neither ok nor failed";
  return NULL;
}

static void add_row(struct page *page, const struct record *record, const struct scan *line) {
  static const int32_t severity = 1;
  const struct bytes *id = &record->members[ID], *result = &record->members[RESULT], *from = &record->members[FROM];
  const struct bytes *user = &record->members[USER];
  const char *action = "other";
  for (size_t at = 0; at < sizeof actions / sizeof *actions; at++)
    if (is(&record->members[WHAT], actions[at].what)) action = actions[at].action;
  char ip[INET6_ADDRSTRLEN];
  const char *kind = read_address(from, ip);
  add_list(page, EVENT_KEY_PARTS, id->data, id->length);
  add_number(page, TIME_AT, &record->micros, sizeof record->micros);
  add_text(page, TIME_ORIGINAL, record->members[WHEN].data, record->members[WHEN].length);
  add_word(page, TIME_QUALITY, record->is_exact ? "exact" : "seconds");
  add_text(page, EVENT_CODE, record->members[WHAT].data, record->members[WHAT].length);
  add_word(page, ACTION, action);
  add_word(page, OUTCOME, is(result, "ok") ? "success" : is(result, "failed") ? "failure" : "unknown");
  add_number(page, SEVERITY_ID, &severity, sizeof severity);
  add_text(page, MESSAGE, record->members[WORDS].data, record->members[WORDS].length);
  add_text(page, USER_NAME, user->data, user->length);
  add_text(page, USER_ORIGINAL, user->data, user->length);
  add_word(page, USER_TYPE, "unknown");
  add_word(page, SRC_IP, ip);
  add_word(page, SRC_KIND, kind);
  add_text(page, SRC_ORIGINAL, from->data, from->length);
  add_text(page, RECORD_ID, id->data, id->length);
  const char *flag = strcmp(kind, "unparsed") == 0 ? "ip_unparsed" : "";
  add_list(page, QUALITY_FLAGS, flag, strlen(flag));
  add_text(page, RAW, line->at, (size_t)(line->end - line->at));
}

/* ---- A source ---- */

struct source {
  char *path;
};

/* Opens the file, or answers with the reason. Anything but a file would keep the reader waiting. */
static FILE *open_file(const struct source *source, struct fedaudit_bytes *out) {
  const char *path = source->path;
  int number = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (number < 0) {
    const char *kind = errno == ENOENT || errno == ENOTDIR ? "not_found" : errno == EACCES ? "denied" : "unavailable";
    const char *hint = errno == EACCES ? "the account that runs fedaudit has to be able to read the file" : NULL;
    char reason[128];
    if (strerror_r(errno, reason, sizeof reason) != 0) snprintf(reason, sizeof reason, "it cannot be opened");
    fail(out, kind, reason, path, hint);
    return NULL;
  }
  struct stat about;
  if (fstat(number, &about) != 0 || !S_ISREG(about.st_mode)) {
    close(number);
    fail(out, "config", "it is no regular file", path, NULL);
    return NULL;
  }
  FILE *file = fdopen(number, "rb");
  if (file == NULL) {
    close(number);
    no_memory(out);
  }
  return file;
}

/* What there is of a line. */
enum line { WHOLE, TOO_LONG, UNFINISHED, NO_LINE };

/* Reads the next line without its end, and counts the bytes that it takes in the file. */
static enum line read_line(FILE *file, struct bytes *line, uint64_t *offset) {
  line->length = 0;
  uint64_t length = 0;
  for (;;) {
    int byte = getc_unlocked(file);
    if (byte == EOF) return length == 0 ? NO_LINE : UNFINISHED;
    length++;
    if (byte == '\n') {
      *offset += length;
      return length - 1 > MOST_OF_A_LINE ? TOO_LONG : WHOLE;
    }
    uint8_t one = (uint8_t)byte;
    if (length <= MOST_OF_A_LINE) put(line, &one, 1);
  }
}

/* What is asked for. */
struct request {
  bool is_known; /* the stream */
  bool has_from, has_to, counts_only;
  int64_t from, to;
  uint64_t offset;
  uint64_t rows;
};

/* An end of the window; one that cannot be read is none: more may come than was asked for, less never. */
static bool read_instant(struct scan *scan, struct bytes *text, int64_t *micros, bool *is_there) {
  bool is_exact;
  text->length = 0;
  *is_there = false;
  if (take_word(scan, "null")) return true;
  if (!take_string(scan, text)) return false;
  *is_there = read_time(text, micros, &is_exact);
  return true;
}

static bool read_window(struct scan *scan, struct request *request) {
  struct bytes name = {0}, text = {0};
  bool first = true, good = take(scan, '{');
  while (good && !take(scan, '}')) {
    good = next_member(scan, &first, &name);
    if (good && is(&name, "from"))
      good = read_instant(scan, &text, &request->from, &request->has_from);
    else if (good && is(&name, "to"))
      good = read_instant(scan, &text, &request->to, &request->has_to);
    else
      good = good && skip_value(scan, 0);
  }
  good = good && !name.failed && !text.failed;
  drop(&name);
  drop(&text);
  return good;
}

static bool read_cursor(struct scan *scan, struct request *request) {
  if (take_word(scan, "null")) return true;
  struct bytes text = {0};
  bool good = take_string(scan, &text) && !text.failed;
  if (good) {
    struct scan inside = {text.data, text.data + text.length};
    good = take_number(&inside, &request->offset) && at_end(&inside) && request->offset <= INT64_MAX;
  }
  drop(&text);
  return good;
}

/* Reads a PageRequest. Members that are not known are of a later version. */
static bool read_request(struct fedaudit_slice asked, struct request *request) {
  struct scan scan = {asked.data, asked.data + asked.length};
  struct bytes name = {0}, text = {0};
  bool first = true, good = take(&scan, '{');
  *request = (struct request){.rows = USUAL_PAGE};
  while (good && !take(&scan, '}')) {
    good = next_member(&scan, &first, &name);
    if (!good) break;
    if (is(&name, "stream")) {
      text.length = 0;
      good = take_string(&scan, &text);
      request->is_known = good && is(&text, STREAM);
    } else if (is(&name, "window")) {
      good = read_window(&scan, request);
    } else if (is(&name, "cursor")) {
      good = read_cursor(&scan, request);
    } else if (is(&name, "page_size")) {
      good = take_word(&scan, "null") || take_number(&scan, &request->rows);
    } else if (is(&name, "count_only")) {
      request->counts_only = take_word(&scan, "true");
      good = request->counts_only || take_word(&scan, "false");
    } else {
      good = skip_value(&scan, 0);
    }
  }
  good = good && at_end(&scan) && !name.failed && !text.failed;
  drop(&name);
  drop(&text);
  if (request->rows < 1) request->rows = 1;
  if (request->rows > LARGEST_PAGE) request->rows = LARGEST_PAGE;
  return good;
}

/* What a page says besides its rows, while it is read. */
struct reading {
  struct page page;
  struct bytes rejected;
  struct bytes notes;
  uint64_t records;
  uint64_t rejections;
  uint64_t offset;
  uint64_t begun;
  bool is_all;
};

static void reject(struct reading *reading, const struct bytes *line, const char *reason) {
  put_text(&reading->rejected, reading->rejections++ ? ", {\"raw\": " : "{\"raw\": ");
  put_string(&reading->rejected, line->data, line->length);
  put_text(&reading->rejected, ", \"reason\": ");
  put_string(&reading->rejected, (const uint8_t *)reason, strlen(reason));
  put_text(&reading->rejected, "}");
}

static bool is_wanted(const struct request *request, int64_t micros) {
  return (!request->has_from || request->from <= micros) && (!request->has_to || micros < request->to);
}

/* Nobody waits any more, or not for long enough. */
static bool is_over(const struct fedaudit_call *call) {
  return call->cancelled(call->host) != 0 || (call->deadline != INT64_MAX && call->now(call->host) >= call->deadline);
}

/* Reads lines until the page is full or the file is at its end; false if nobody waits for it. */
static bool read_page(FILE *file, const struct fedaudit_call *call, const struct request *request,
                      struct reading *reading) {
  struct record record;
  struct bytes line = {0};
  bool goes_on = true;
  memset(&record, 0, sizeof record);
  for (uint64_t lines = 0; goes_on; lines++) {
    uint64_t rows = (uint64_t)reading->page.columns[0].length + reading->rejections;
    if (rows >= request->rows || reading->offset - reading->begun >= MOST_OF_A_PAGE) break;
    if (lines % LOOK_UP_EVERY == 0 && is_over(call)) {
      goes_on = false;
      break;
    }
    enum line what = read_line(file, &line, &reading->offset);
    if (what == NO_LINE || what == UNFINISHED) {
      /* It is being written: the next question finds it whole. */
      if (what == UNFINISHED) put_text(&reading->notes, "\"the last line has no end yet, and was left out\"");
      reading->is_all = true;
      break;
    }
    struct scan text = {line.data, line.data + line.length};
    if (line.length == 0) continue;
    reading->records++;
    const char *wrong = read_record(text, &record);
    if (what == TOO_LONG) wrong = "it is longer than a MiB; these are its first bytes";
    if (wrong != NULL)
      reject(reading, &line, wrong);
    else if (is_wanted(request, record.micros))
      add_row(&reading->page, &record, &text);
  }
  reading->page.columns[0].values.failed |= line.failed;
  drop(&line);
  for (int at = 0; at < MEMBERS; at++) drop(&record.members[at]);
  return goes_on;
}

/* The reader stands at the beginning of a line, where the cursor was made. */
static bool go_to(FILE *file, uint64_t offset) {
  if (offset == 0) return true;
  return fseeko(file, (off_t)(offset - 1), SEEK_SET) == 0 && getc(file) == '\n';
}

static int32_t say_page(struct reading *reading, struct fedaudit_bytes *out) {
  struct bytes text = {0};
  char piece[96];
  if (reading->is_all)
    put_text(&text, "{\"next\": {\"end\": \"no_next_link\"}");
  else {
    snprintf(piece, sizeof piece, "{\"next\": {\"more\": \"%" PRIu64 "\"}", reading->offset);
    put_text(&text, piece);
  }
  snprintf(piece, sizeof piece, ", \"observed\": {\"records\": %" PRIu64 ", \"notes\": [", reading->records);
  put_text(&text, piece);
  put(&text, reading->notes.data, reading->notes.length);
  put_text(&text, "]}, \"rejected\": [");
  put(&text, reading->rejected.data, reading->rejected.length);
  put_text(&text, "]}");
  text.failed = text.failed || reading->notes.failed || reading->rejected.failed;
  return say(out, &text, FEDAUDIT_OK);
}

static int32_t fetch(void *handle, const struct fedaudit_call *call, struct fedaudit_slice asked,
                     struct ArrowSchema *schema, struct ArrowArray *rows, struct fedaudit_bytes *out) {
  const struct source *source = handle;
  struct request request;
  struct reading reading = {.is_all = false};
  *out = (struct fedaudit_bytes){0};
  if (call->size < sizeof *call) return fail(out, "internal", "the host is older than this plugin", NULL, NULL);
  if (!read_request(asked, &request)) return fail(out, "internal", "the request cannot be read", NULL, NULL);
  if (!request.is_known) return fail(out, "internal", "there is no such stream", NULL, NULL);
  FILE *file = open_file(source, out);
  if (file == NULL) return FEDAUDIT_FAILED;
  call->count(call->host, FEDAUDIT_COUNT_REQUESTS, 1);
  begin(&reading.page);
  reading.offset = reading.begun = request.offset;
  int32_t status = FEDAUDIT_FAILED;
  if (request.counts_only)
    /* The file does not say how many there are without being read. */
    reading.is_all = true;
  else if (!go_to(file, request.offset))
    status = fail(out, "malformed", "no line begins where the last page ended", source->path,
                  "the file was replaced meanwhile");
  if (out->data == NULL && !reading.is_all && !read_page(file, call, &request, &reading))
    status = fail(out, "timeout", "nobody waits for the answer any more", source->path, NULL);
  if (out->data == NULL && ferror(file)) status = fail(out, "unavailable", "it cannot be read", source->path, NULL);
  fclose(file);
  call->count(call->host, FEDAUDIT_COUNT_BYTES, reading.offset - reading.begun);
  if (out->data == NULL) {
    status = hand_over(&reading.page, schema, rows) ? say_page(&reading, out) : no_memory(out);
    if (status != FEDAUDIT_OK && rows->release != NULL) {
      schema->release(schema);
      rows->release(rows);
    }
  }
  drop_page(&reading.page);
  drop(&reading.rejected);
  drop(&reading.notes);
  return status;
}

/* What is here to be proved: the file can be opened. */
static int32_t check(void *handle, const struct fedaudit_call *call, struct fedaudit_bytes *out) {
  (void)call;
  FILE *file = open_file(handle, out);
  if (file == NULL) return FEDAUDIT_FAILED;
  fclose(file);
  say_literal(out, "{}");
  return FEDAUDIT_OK;
}

static int32_t close_source(void *handle, const struct fedaudit_call *call, struct fedaudit_bytes *out) {
  (void)handle;
  (void)call;
  say_literal(out, "null");
  return FEDAUDIT_OK;
}

/* Reads the settings: `file`, an absolute path, and nothing else. */
static const char *read_settings(struct fedaudit_slice settings, struct bytes *path) {
  struct scan scan = {settings.data, settings.data + settings.length};
  struct bytes name = {0};
  const char *wrong = NULL;
  bool first = true;
  if (!take(&scan, '{')) return "the settings are no object";
  while (wrong == NULL && !take(&scan, '}')) {
    if (!next_member(&scan, &first, &name))
      wrong = "the settings cannot be read";
    else if (!is(&name, "file"))
      wrong = "there is no such setting: the only one is `file`";
    else if (path->length > 0)
      wrong = "`file` stands there twice";
    else if (!take_string(&scan, path) || path->failed || path->length == 0)
      wrong = "`file` is no path";
    else if (path->data[0] != '/' || memchr(path->data, 0, path->length) != NULL)
      wrong = "`file` is no absolute path";
  }
  drop(&name);
  if (wrong == NULL && !at_end(&scan)) wrong = "the settings cannot be read";
  return wrong == NULL && path->length == 0 ? "`file` is missing" : wrong;
}

static int32_t create(struct fedaudit_slice name, struct fedaudit_slice settings, void **place,
                      struct fedaudit_bytes *out) {
  static const char front[] =
      "{\"product\": \"" TYPE "\", \"plugin\": \"" TYPE "\", \"plugin_version\": \"" VERSION "\", \"origin\": ";
  static const char back[] =
      ", \"streams\": [{\"name\": \"" STREAM "\", \"kind\": \"events\", \"time_field\": \"time\"}]}";
  struct bytes path = {0}, origin = {0}, info = {0};
  (void)name;
  const char *wrong = read_settings(settings, &path);
  if (wrong != NULL) {
    drop(&path);
    return fail(out, "config", wrong, NULL, NULL);
  }
  put_text(&origin, "file://");
  put(&origin, path.data, path.length);
  put(&path, "", 1);
  put_text(&info, front);
  if (!origin.failed) put_string(&info, origin.data, origin.length);
  put_text(&info, back);
  struct source *source = malloc(sizeof *source);
  bool failed = source == NULL || path.failed || origin.failed || info.failed;
  drop(&origin);
  if (failed) {
    free(source);
    drop(&path);
    drop(&info);
    return no_memory(out);
  }
  source->path = (char *)path.data;
  *place = source;
  return say(out, &info, FEDAUDIT_OK);
}

static void release(void *handle) {
  struct source *source = handle;
  free(source->path);
  free(source);
}

static int32_t start(const struct fedaudit_host *host, struct fedaudit_bytes *out) {
  (void)host;
  say_literal(out, "{\"type\": \"" TYPE "\", \"version\": \"" VERSION "\", \"streams\": [\"" STREAM "\"]}");
  return FEDAUDIT_OK;
}

const struct fedaudit_table *fedaudit_plugin(void) {
  /* No `cancel`: calls look at `cancelled` themselves. */
  static const struct fedaudit_table table = {
      .abi_major = FEDAUDIT_ABI_MAJOR,
      .abi_minor = FEDAUDIT_ABI_MINOR,
      .size = sizeof table,
      .start = start,
      .create = create,
      .check = check,
      .fetch = fetch,
      .close = close_source,
      .release = release,
  };
  return &table;
}
