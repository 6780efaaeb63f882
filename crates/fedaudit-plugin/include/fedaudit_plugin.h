/*
 * The interface between fedaudit and a plugin, version 1: a shared library that exports one function, which returns a
 * table of functions. `include/fedaudit_plugin.h` says the same in C and is made from this file.
 *
 * Texts are UTF-8 without a final NUL. Times are microseconds since 1970-01-01T00:00:00Z.
 *
 * Ownership. What a call is handed is borrowed until it returns. What it hands back is freed by its maker: `fedaudit_bytes`
 * through its own `free`, Arrow structures through their `release`, a source through `fedaudit_table.release`.
 *
 * Threads. Every function may be called on any thread, and several at once for one source, except `release`, which
 * is called once, after every other call for that source has returned. A call blocks its thread until it is answered.
 *
 * Growing. Fields are only ever added at the end. A structure that may grow says its size as its maker knows it, so
 * that either side sees which fields the other has; `fedaudit_slice` and `fedaudit_bytes` never do.
 *
 * Made from the Rust definitions in src/abi.rs; a test compares.
 */

#ifndef FEDAUDIT_PLUGIN_H
#define FEDAUDIT_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

/* The Arrow C Data Interface, as its specification gives it. */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
  const char *format;
  const char *name;
  const char *metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema **children;
  struct ArrowSchema *dictionary;
  void (*release)(struct ArrowSchema *);
  void *private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void **buffers;
  struct ArrowArray **children;
  struct ArrowArray *dictionary;
  void (*release)(struct ArrowArray *);
  void *private_data;
};

#endif /* ARROW_C_DATA_INTERFACE */

/* Changes when a library of another version cannot be understood. */
#define FEDAUDIT_ABI_MAJOR 1

/* Changes when something was added. */
#define FEDAUDIT_ABI_MINOR 0

/* Done; the answer is in the call's `out`. */
#define FEDAUDIT_OK 0

/* Not done; `out` holds the error as JSON: `{"kind": …, "message": …, "place": …, "hint": …}`. */
#define FEDAUDIT_FAILED 1

/* Counters of `fedaudit_call.count`: what the wire did, for the receipt. */
#define FEDAUDIT_COUNT_REQUESTS 0

/* Requests sent again. */
#define FEDAUDIT_COUNT_RETRIES 1

/* Times the product asked us to slow down. */
#define FEDAUDIT_COUNT_THROTTLED 2

/* Logins. */
#define FEDAUDIT_COUNT_LOGINS 3

/* Bytes of answers, decompressed. */
#define FEDAUDIT_COUNT_BYTES 4

/* Levels of `fedaudit_host.log`. */
#define FEDAUDIT_LOG_ERROR 1

/* Something an operator should look at. */
#define FEDAUDIT_LOG_WARN 2

/* Something an operator may like to know. */
#define FEDAUDIT_LOG_INFO 3

/* For whoever looks for a mistake. */
#define FEDAUDIT_LOG_DEBUG 4

/* Everything. */
#define FEDAUDIT_LOG_TRACE 5

/* Bytes lent for the length of a call; UTF-8 where they are text. */
struct fedaudit_slice {
  /* The first byte; anything where `length` is 0. */
  const uint8_t *data;
  /* How many. */
  size_t length;
};

/* Bytes that a plugin hands out: JSON text. The host calls `free` once when it has read them. */
struct fedaudit_bytes {
  /* The first byte. */
  uint8_t *data;
  /* How many. */
  size_t length;
  /* The maker's own affair. */
  size_t capacity;
  /* Gives them back; none where there is nothing to give back. */
  void (*free)(struct fedaudit_bytes*);
};

/* What the host offers for as long as the process lives. */
struct fedaudit_host {
  /* Size of this structure. */
  size_t size;
  /* Nothing above this level is wanted. */
  uint32_t max_level;
  /* Takes a line for the log: level, the part of the program that speaks, text. Any thread. */
  void (*log)(uint32_t level, struct fedaudit_slice target, struct fedaudit_slice message);
};

/* What the host offers for the length of one call. */
struct fedaudit_call {
  /* Size of this structure. */
  size_t size;
  /* Handed back to the functions below. */
  void *host;
  /* Name of the source in the configuration. */
  struct fedaudit_slice source;
  /* First part of every key. */
  struct fedaudit_slice source_key;
  /* When the call has to be over, in UTC microseconds; `INT64_MAX` for never. */
  int64_t deadline;
  /* The time now, in UTC microseconds. */
  int64_t (*now)(void *host);
  /* Not 0 once nobody waits for the answer any more. */
  int32_t (*cancelled)(void *host);
  /* Adds to a counter, as soon as there is something to add: it is shown as progress. */
  void (*count)(void *host, uint32_t counter, uint64_t amount);
};

/* `fedaudit_table.start` */
typedef int32_t (*fedaudit_start)(const struct fedaudit_host *host, struct fedaudit_bytes *out);

/* `fedaudit_table.create` */
typedef int32_t (*fedaudit_create)(struct fedaudit_slice name,
                                   struct fedaudit_slice settings,
                                   void **source,
                                   struct fedaudit_bytes *out);

/* `fedaudit_table.check` and `fedaudit_table.close` */
typedef int32_t (*fedaudit_ask)(void *source, const struct fedaudit_call *call, struct fedaudit_bytes *out);

/* `fedaudit_table.fetch` */
typedef int32_t (*fedaudit_fetch)(void *source,
                                  const struct fedaudit_call *call,
                                  struct fedaudit_slice request,
                                  struct ArrowSchema *schema,
                                  struct ArrowArray *rows,
                                  struct fedaudit_bytes *out);

/* `fedaudit_table.cancel` */
typedef void (*fedaudit_cancel)(void *source, const struct fedaudit_call *call);

/* `fedaudit_table.release` */
typedef void (*fedaudit_release)(void *source);

/* What a plugin offers. Only `cancel` may be absent. */
struct fedaudit_table {
  /* `FEDAUDIT_ABI_MAJOR` of the plugin. */
  uint32_t abi_major;
  /* `FEDAUDIT_ABI_MINOR` of the plugin. */
  uint32_t abi_minor;
  /* Size of this structure. */
  size_t size;
  /*
   * Called once, first. Answers `{"type": …, "version": …, "streams": […]}`: the word in the
   * configuration, its version, and the name of every stream that its sources may have.
   */
  fedaudit_start start;
  /*
   * Makes a source of its name and its settings, the rest of its `[[source]]` table as JSON. Answers with its
   * `SourceInfo`. Nothing is asked of the product yet.
   */
  fedaudit_create create;
  /* Proves address, credentials and rights. Answers with a `SourceHealth`. */
  fedaudit_ask check;
  /*
   * Fetches one page: a `PageRequest` in; rows out as a struct array whose children are the columns of the stream's
   * table, in any order, and the rest of the page in `out`.
   *
   * A column that may be NULL may be left out, and so may those that follow from others: `class_uid`, `activity_id`,
   * `duration_s` and `raw_sha256`. In place of `event_key` and `session_key` may stand `event_key_parts` and
   * `session_key_parts`, lists of the texts of which the host makes the key; the source is the first part of every
   * key and not among them. An event without parts of a session has no session key.
   */
  fedaudit_fetch fetch;
  /* Ends what is held on the server. A later fetch logs in again. Answers `null`. */
  fedaudit_ask close;
  /*
   * Asks a running call to come back at once. The call is only an identity here: it may have returned already, and is
   * not to be read. May be absent where calls look at `fedaudit_call.cancelled` themselves.
   */
  fedaudit_cancel cancel;
  /* Ends a source. */
  fedaudit_release release;
};

#ifdef __cplusplus
extern "C" {
#endif

/* The one function that a plugin exports. */
const struct fedaudit_table *fedaudit_plugin(void);

#ifdef __cplusplus
}
#endif

#endif /* FEDAUDIT_PLUGIN_H */
