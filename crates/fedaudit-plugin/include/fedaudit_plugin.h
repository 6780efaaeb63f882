/*
 * The interface between fedaudit and a source plugin, version 1.0.
 *
 * A plugin is a shared library that exports one function, fedaudit_plugin(), which returns a table of functions.
 *
 * Ownership. What a call is handed is borrowed until it returns. What it hands back is freed by its maker:
 * fedaudit_bytes through their own `free`, Arrow structures through their `release`, a source through the table's `release`.
 *
 * Threads. Every function may be called on any thread, and several at once for one source, except `release`, which is
 * called once, after every other call for that source has returned. A call blocks its thread until it is answered.
 *
 * Growing. Fields are only ever added at the end; a structure says its size as its maker knows it.
 *
 * Texts are UTF-8 without a final NUL. Times are microseconds since 1970-01-01T00:00:00Z.
 */
#ifndef FEDAUDIT_PLUGIN_H
#define FEDAUDIT_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

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

#define FEDAUDIT_ABI_MAJOR 1
#define FEDAUDIT_ABI_MINOR 0

/* Status of a call: its answer, or its error, stands in `out`. */
#define FEDAUDIT_OK 0
#define FEDAUDIT_FAILED 1

/* Counters of fedaudit_call.count: what the wire did, for the receipt. */
#define FEDAUDIT_COUNT_REQUESTS 0
#define FEDAUDIT_COUNT_RETRIES 1
#define FEDAUDIT_COUNT_THROTTLED 2
#define FEDAUDIT_COUNT_LOGINS 3
#define FEDAUDIT_COUNT_BYTES 4

/* Levels of fedaudit_host.log. */
#define FEDAUDIT_LOG_ERROR 1
#define FEDAUDIT_LOG_WARN 2
#define FEDAUDIT_LOG_INFO 3
#define FEDAUDIT_LOG_DEBUG 4
#define FEDAUDIT_LOG_TRACE 5

/* Bytes lent for the length of a call. */
struct fedaudit_slice {
  const uint8_t *data;
  size_t length;
};

/* Bytes that a plugin hands out. `capacity` is its own affair; `free` may be NULL where there is nothing to free. */
struct fedaudit_bytes {
  uint8_t *data;
  size_t length;
  size_t capacity;
  void (*free)(struct fedaudit_bytes *);
};

/* What the host offers for as long as the process lives. */
struct fedaudit_host {
  size_t size;
  uint32_t max_level; /* nothing above this level is wanted */
  void (*log)(uint32_t level, struct fedaudit_slice target, struct fedaudit_slice message);
};

/* What the host offers for the length of one call. */
struct fedaudit_call {
  size_t size;
  void *host;                       /* handed back to the functions below */
  struct fedaudit_slice source;     /* name of the source in the configuration */
  struct fedaudit_slice source_key; /* first part of every key */
  int64_t deadline;                 /* INT64_MAX for never */
  int64_t (*now)(void *host);
  int32_t (*cancelled)(void *host); /* not 0 once nobody waits for the answer any more */
  void (*count)(void *host, uint32_t counter, uint64_t amount);
};

/* What a plugin offers. Only `cancel` may be NULL. */
struct fedaudit_table {
  uint32_t abi_major;
  uint32_t abi_minor;
  size_t size;
  /* Called once, first. Answers {"type": "…"}, the word in the configuration. */
  int32_t (*start)(const struct fedaudit_host *host, struct fedaudit_bytes *out);
  /* Makes a source of its settings, the rest of its [[source]] table as JSON. Answers with its SourceInfo. */
  int32_t (*create)(struct fedaudit_slice name, struct fedaudit_slice settings, void **source, struct fedaudit_bytes *out);
  /* Proves address, credentials and rights. Answers with a SourceHealth. */
  int32_t (*check)(void *source, const struct fedaudit_call *call, struct fedaudit_bytes *out);
  /* Fetches one page: a PageRequest in; rows out as a struct array with the page schema of the stream's table, and the
   * rest of the page in `out`. */
  int32_t (*fetch)(void *source, const struct fedaudit_call *call, struct fedaudit_slice request, struct ArrowSchema *schema,
                   struct ArrowArray *rows, struct fedaudit_bytes *out);
  /* Ends what is held on the server. A later fetch logs in again. Answers null. */
  int32_t (*close)(void *source, const struct fedaudit_call *call, struct fedaudit_bytes *out);
  /* Asks a running call to come back at once. The call is only an identity here: it may have returned already. */
  void (*cancel)(void *source, const struct fedaudit_call *call);
  /* Ends a source. */
  void (*release)(void *source);
};

/* The one function that a plugin exports. */
const struct fedaudit_table *fedaudit_plugin(void);

#ifdef __cplusplus
}
#endif

#endif /* FEDAUDIT_PLUGIN_H */
