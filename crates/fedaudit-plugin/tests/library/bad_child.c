/* A child that breaks the protocol of the pipes: bad_child HOW BODY MARK. It answers well if MARK is there, with the bytes of
 * the file BODY as rows, and otherwise misbehaves as HOW says, leaving MARK behind for the next one. */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put(const void *data, size_t length) {
  if (fwrite(data, 1, length, stdout) != length) _exit(9);
}

static void answer(const char *head, const void *body, size_t length) {
  uint64_t lengths[2] = {strlen(head), length};
  put(lengths, sizeof lengths);
  put(head, strlen(head));
  put(body, length);
  fflush(stdout);
}

/* Reads a question; its own end is the host's. */
static char *question(void) {
  uint64_t lengths[2];
  if (fread(lengths, sizeof lengths, 1, stdin) != 1) _exit(0);
  char *head = calloc(1, lengths[0] + 1);
  if (head == NULL || fread(head, 1, lengths[0], stdin) != lengths[0]) _exit(9);
  return head;
}

static unsigned id_of(const char *head) {
  const char *at = strstr(head, "\"id\":");
  return at ? (unsigned)strtoul(at + 5, NULL, 10) : 0;
}

static void answer_rows(unsigned id, const char *file) {
  static char body[1 << 22], head[200];
  FILE *rows = fopen(file, "rb");
  size_t length = rows ? fread(body, 1, sizeof body, rows) : 0;
  if (rows) fclose(rows);
  snprintf(head, sizeof head, "{\"done\": {\"id\": %u, \"answer\": {\"next\": {\"end\": \"single_page\"}}}}", id);
  answer(head, body, length);
}

static void for_ever(void) {
  for (;;) pause();
}

int main(int count, char **arguments) {
  if (count < 4) return 2;
  const char *how = arguments[1], *built =
      "{\"built\": {\"product\": \"odd\", \"plugin\": \"odd\", \"plugin_version\": \"1\", \"origin\": \"https://odd.example\","
      " \"streams\": [{\"name\": \"log\", \"kind\": \"events\"}]}}";
  for (int calls = 0;;) {
    char *head = question();
    unsigned id = id_of(head);
    int is_good = access(arguments[3], F_OK) == 0, is_call = strncmp(head, "{\"call\"", 7) == 0;
    if (strncmp(head, "\"describe\"", 10) == 0) {
      answer("{\"described\": {\"type\": \"odd\", \"version\": \"1\", \"streams\": [\"log\"]}}", "", 0);
    } else if (strncmp(head, "{\"build\"", 8) == 0) {
      answer(built, "", 0);
      if (!is_good && strcmp(how, "deaf") == 0) {
        fclose(fopen(arguments[3], "w"));
        for_ever();
      }
    } else if (is_call && (is_good || strcmp(how, "well") == 0)) {
      answer_rows(id, arguments[2]);
    } else if (is_call) {
      calls++;
      if (strcmp(how, "dies") == 0 && calls < 3) {
        free(head);
        continue;
      }
      fclose(fopen(arguments[3], "w"));
      if (strcmp(how, "dies") == 0) _exit(5);
      if (strcmp(how, "garbage") == 0) {
        for (int i = 0; i < 100000; i++) put(&(uint8_t){(uint8_t)(i * 7919 >> 3)}, 1);
        fflush(stdout);
        for_ever();
      }
      if (strcmp(how, "huge") == 0) {
        put((uint64_t[2]){20, (uint64_t)1 << 60}, 16);
        fflush(stdout);
        for_ever();
      }
      if (strcmp(how, "no_json") == 0) answer("{\"done\": {\"id\": ", "", 0);
      if (strcmp(how, "no_utf8") == 0) answer("\"\xff\"", "", 0);
      if (strcmp(how, "half") == 0) {
        put((uint64_t[2]){1000, 1000}, 16);
        put("{\"done\"", 7);
        fflush(stdout);
        _exit(0);
      }
      if (strcmp(how, "closes_stdout") == 0) {
        close(1);
        for_ever();
      }
      if (strcmp(how, "second_source") == 0) answer(built, "", 0);
      if (strcmp(how, "no_body") == 0) answer_rows(id, "");
      if (strcmp(how, "no_page") == 0) {
        char text[100];
        snprintf(text, sizeof text, "{\"done\": {\"id\": %u, \"answer\": 7}}", id);
        answer(text, "", 0);
      }
      if (strcmp(how, "others") == 0) {
        answer("{\"done\": {\"id\": 4000000, \"answer\": null}}", "", 0);
        answer("{\"count\": {\"id\": 4000000, \"counter\": 77, \"amount\": 1}}", "", 0);
        answer("{\"log\": {\"level\": 99, \"message\": \"of no level\"}}", "", 0);
        answer_rows(id, arguments[2]);
      }
      if (strcmp(how, "daughter") == 0) {
        /* It holds both pipes open. */
        if (fork() == 0) for_ever();
        _exit(5);
      }
      if (strcmp(how, "silent") == 0) for_ever();
    }
    free(head);
  }
}
