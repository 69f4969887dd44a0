/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parameters from words: name=value, --name value and --name=value everywhere,
 * and for each command the meaning of its bare words. The daemon checks the
 * values.
 */
#include "ctl/ctl_args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tieline/tls_input.h"

#define WORDS 3
#define NUMBER_MAX 9 /* digits; anything longer is the id of a connection */

static const struct shape {
  const char *command;
  const char *bare[WORDS]; /* positional parameters */
  const char *flag[WORDS]; /* true when named */
} shapes[] = {{"close", {"id"}, {NULL}},          {"connection", {"id"}, {NULL}},
              {"connections", {"limit"}, {NULL}}, {"explain", {"what"}, {NULL}},
              {"handshakes", {"what"}, {NULL}},   {"help", {"command"}, {NULL}},
              {"keylog", {"switch"}, {NULL}},     {"ledger", {"limit"}, {NULL}},
              {"log", {"level"}, {NULL}},         {"peer", {"name", "state"}, {NULL}},
              {"show", {"what"}, {"explain"}},    {"stats", {NULL}, {"threads"}}};

static const struct shape *shape_of(const char *command) {
  static const struct shape none;
  for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
    if (strcmp(shapes[i].command, command) == 0) return &shapes[i];
  return &none;
}

/* Numbers and booleans as such, anything else as text. */
static json_t *json_value(const char *text) {
  json_t *v = strlen(text) <= NUMBER_MAX ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
  if (json_is_number(v) || json_is_boolean(v)) return v;
  json_decref(v);
  return json_string(text);
}

static void append_name(void *list, const char *hex) {
  json_array_append_new(list, json_string(hex));
}

/* The daemon may not be allowed to read the caller's files, so the names are sent, as hexadecimal
 * DER. */
static json_t *names_of_file(const char *file) {
  json_t *list = json_array();
  if (list && tl_tls_authority_names(file, append_name, list) != TL_ENOTFOUND) return list;
  fprintf(stderr, "tieline: %s holds no certificate of an authority\n", file);
  json_decref(list);
  return NULL;
}

static bool set_param(json_t *params, const char *name, size_t n, const char *text) {
  char key[64];
  if (n == 0 || n >= sizeof(key)) return false;
  for (size_t i = 0; i < n; i++) key[i] = name[i] == '-' ? '_' : name[i];
  key[n] = '\0';
  json_t *v = strcmp(key, "ca_names") == 0 ? names_of_file(text) : json_value(text);
  return v && json_object_set_new(params, key, v) == 0;
}

static bool is_flag(const struct shape *s, const char *word) {
  for (int i = 0; i < WORDS && s->flag[i]; i++)
    if (strcmp(s->flag[i], word) == 0) return true;
  return false;
}

/* A word without "=" or "--". */
static bool take_bare_word(const struct shape *s, json_t *params, const char *word, int *at) {
  if (is_flag(s, word)) return json_object_set_new(params, word, json_true()) == 0;
  if (*at >= WORDS || !s->bare[*at]) return false;
  const char *name = s->bare[(*at)++];
  return set_param(params, name, strlen(name), word);
}

/* The option at *I, which may take the next word. */
static bool take_option(const struct shape *s, json_t *params, int argc, char **argv, int *i,
                        struct tl_ctl_words *out) {
  const char *word = argv[*i], *eq = strchr(word, '=');
  const char *name = word + (word[1] == '-' ? 2 : 1);
  if (strcmp(word, "--json") == 0) {
    out->json = true;
    return true;
  }
  if (is_flag(s, name)) return json_object_set_new(params, name, json_true()) == 0;
  if (eq) return set_param(params, name, (size_t)(eq - name), eq + 1);
  if (*i + 1 == argc) return false;
  ++*i;
  if (strcmp(word, "-s") == 0 || strcmp(word, "--socket") == 0) {
    out->socket = argv[*i];
    return true;
  }
  return word[1] == '-' && set_param(params, name, strlen(name), argv[*i]);
}

/* Who it is for whom the daemon keeps a state. */
static void add_caller(json_t *params) {
  const char *by = getenv("SUDO_USER");
  if (!by || !*by) by = getenv("LOGNAME");
  char uid[32];
  snprintf(uid, sizeof(uid), "uid %u", (unsigned)getuid());
  json_object_set_new(params, "by", json_string(by && *by ? by : uid));
}

json_t *tl_ctl_params(int argc, char **argv, struct tl_ctl_words *out) {
  const char *command = argc > 0 ? argv[0] : "help";
  const struct shape *s = shape_of(command);
  json_t *params = json_object();
  int at = 0;
  for (int i = 1; i < argc; i++) {
    const char *word = argv[i], *eq = strchr(word, '=');
    bool ok;
    if (word[0] == '-' && word[1])
      ok = take_option(s, params, argc, argv, &i, out);
    else if (eq)
      ok = set_param(params, word, (size_t)(eq - word), eq + 1);
    else if (strcmp(command, "stats") == 0 && strcmp(word, "all") == 0)
      ok = out->all = true;
    else
      ok = take_bare_word(s, params, word, &at);
    if (ok) continue;
    fprintf(stderr, "tieline: \"%s\" takes no \"%s\"; `tieline ctl help %s` tells what it takes\n",
            command, word, command);
    json_decref(params);
    return NULL;
  }
  if (strcmp(command, "peer") == 0 && !json_object_get(params, "by")) add_caller(params);
  return params;
}
