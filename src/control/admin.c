/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of administrators' states, and its file: JSON, written anew beside the former one and
 * renamed, so that a crash leaves one of the two. A file that cannot be read ends the start: calls
 * must not go where somebody has said that none shall go.
 */
#include "control/admin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/command.h"
#include "control/control_internal.h"
#include "control/json_values.h"
#include "tieline/log.h"

#define ENTRIES_MAX 10000u
#define FILE_BYTES_MAX (8u << 20)
#define PATH_MAX_LEN 4096

struct tl_admin {
  size_t n;
  struct tl_admin_entry e[ENTRIES_MAX];
};

/* ---- the list ---- */

static void clear_entry(struct tl_admin_entry *e) {
  free(e->peer);
  free(e->address);
  free(e->by);
  *e = (struct tl_admin_entry){.address = NULL};
}

static bool same_text(const char *a, const char *b) { return a && b ? strcmp(a, b) == 0 : a == b; }

static size_t index_of(const struct tl_admin *a, const struct tl_admin_entry *e) {
  size_t i = 0;
  while (i < a->n &&
         !(strcmp(a->e[i].peer, e->peer) == 0 && same_text(a->e[i].address, e->address)))
    i++;
  return i;
}

static int copy_entry(const struct tl_admin_entry *from, struct tl_admin_entry *to) {
  *to = *from;
  to->peer = strdup(from->peer);
  to->by = strdup(from->by);
  to->address = from->address ? strdup(from->address) : NULL;
  if (to->peer && to->by && (to->address || !from->address)) return TL_OK;
  clear_entry(to);
  return TL_ENOMEM;
}

static int put_entry(struct tl_admin *a, const struct tl_admin_entry *e) {
  struct tl_admin_entry new = {.address = NULL};
  const size_t i = index_of(a, e);
  if (i == ENTRIES_MAX) return TL_ELIMIT;
  if (e->state && copy_entry(e, &new)) return TL_ENOMEM;
  if (i < a->n) clear_entry(&a->e[i]);
  if (e->state) {
    a->e[i] = new;
    a->n += i == a->n;
  } else if (i < a->n) {
    a->e[i] = a->e[--a->n];
  }
  return TL_OK;
}

static struct tl_admin *admin_of(struct tl_control *c) {
  if (!c->admin) c->admin = calloc(1, sizeof(*c->admin));
  return c->admin;
}

/* ---- the peers ---- */

/* What PEER's own entries say, all together. */
static int apply_peer(const struct tl_admin *a, const struct tl_conf_peer *peer) {
  enum tl_admin_state all = TL_ADMIN_NONE;
  size_t n = 0;
  for (size_t i = 0; i < a->n; i++)
    if (strcmp(a->e[i].peer, peer->name) == 0 && a->e[i].address)
      n++;
    else if (strcmp(a->e[i].peer, peer->name) == 0)
      all = a->e[i].state;
  struct tl_admin_list *l = NULL;
  if (n && !(l = calloc(1, sizeof(*l) + n * sizeof(l->at[0])))) return TL_ENOMEM;
  for (size_t i = 0; i < a->n && l; i++)
    if (strcmp(a->e[i].peer, peer->name) == 0 && a->e[i].address)
      l->at[l->n++] = (struct tl_admin_address){a->e[i].addr, a->e[i].state};
  tl_peer_admin_set(&peer->state->admin, all, l);
  return TL_OK;
}

void tl_admin_adopt(struct tl_control *c, const struct tl_peer_table *t) {
  for (size_t i = 0; c->admin && i < c->admin->n; i++) {
    const struct tl_conf_peer *peer = tl_peer_table_by_name(t, c->admin->e[i].peer);
    if (peer && apply_peer(c->admin, peer))
      TL_LOG(TL_LOG_ERROR, "A peer's administrative state does not count: out of memory.",
             TL_FC("peer", peer->name));
  }
}

const struct tl_admin_entry *tl_admin_find(const struct tl_control *c, const char *peer,
                                           const struct tl_addr *addr) {
  const struct tl_admin_entry *any_port = NULL;
  for (size_t i = 0; c->admin && i < c->admin->n; i++) {
    const struct tl_admin_entry *e = &c->admin->e[i];
    if (strcmp(e->peer, peer) != 0 || !e->address != !addr) continue;
    if (!addr || (tl_addr_port(&e->addr) && tl_addr_eq(&e->addr, addr))) return e;
    if (!tl_addr_port(&e->addr) && tl_addr_ip_eq(&e->addr, addr)) any_port = e;
  }
  return any_port;
}

/* ---- the file ---- */

static json_t *json_entry(const struct tl_admin_entry *e) {
  return json_pack("{s:s, s:s?, s:s, s:s, s:I}", "peer", e->peer, "address", e->address, "state",
                   tl_admin_state_names[e->state], "by", e->by, "at", (json_int_t)e->at);
}

static int say(char *why, size_t cap, int rc, const char *path, const char *what) {
  snprintf(why, cap, "%s: %s", path, what);
  return rc;
}

static int write_beside(const struct tl_admin *a, const char *path, char *why, size_t cap) {
  char tmp[PATH_MAX_LEN];
  json_t *list = json_array();
  for (size_t i = 0; i < a->n; i++) json_array_append_new(list, json_entry(&a->e[i]));
  json_t *all = json_pack("{s:o}", "peers", list);
  const int len = snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path);
  int fd = all && len > 0 && len < PATH_MAX_LEN ? mkostemp(tmp, O_CLOEXEC) : -1; /* mode 0600 */
  int rc = TL_OK;
  if (fd < 0)
    rc = say(why, cap, TL_EIO, path, all ? strerror(errno) : "out of memory");
  else if (json_dumpfd(all, fd, JSON_INDENT(1)) || write(fd, "\n", 1) != 1 || fsync(fd) < 0 ||
           rename(tmp, path) < 0)
    rc = say(why, cap, TL_EIO, path, strerror(errno));
  if (fd >= 0) close(fd);
  if (rc && fd >= 0) unlink(tmp);
  json_decref(all);
  return rc;
}

static int find_state(const char *name, enum tl_admin_state *out) {
  for (int i = TL_ADMIN_UP; i < TL_ADMIN_STATES; i++)
    if (strcmp(name, tl_admin_state_names[i]) == 0) return *out = (enum tl_admin_state)i, TL_OK;
  return TL_ESYNTAX;
}

static int read_entry(struct tl_admin *a, const json_t *j) {
  const json_t *at = json_object_get(j, "at");
  struct tl_admin_entry e = {
      .peer = (char *)(uintptr_t)tl_param_text(j, "peer"),
      .by = (char *)(uintptr_t)tl_param_text(j, "by"),
      .at = (time_t)json_integer_value(at),
  };
  const char *address = json_string_value(json_object_get(j, "address"));
  e.address = (char *)(uintptr_t)address;
  if (!*e.peer || !json_is_integer(at) || find_state(tl_param_text(j, "state"), &e.state) ||
      (address && tl_param_address(address, &e.addr)))
    return TL_ESYNTAX;
  return put_entry(a, &e);
}

/* Another user's directory may have one; who starts it there by hand is told. */
static int cannot_see(const char *path, char *why, size_t cap) {
  if (errno == ENOENT || errno == ENOTDIR) return TL_OK;
  if (errno != EACCES) return say(why, cap, TL_EIO, path, strerror(errno));
  TL_LOG(TL_LOG_WARN, "States of peers cannot be read or kept: peer_state_file is out of reach.",
         TL_FC("file", path));
  return TL_OK;
}

static int read_file(struct tl_admin *a, const char *path, char *why, size_t cap) {
  json_error_t err;
  struct stat st;
  json_t *list, *j;
  size_t i;
  int rc = TL_OK;
  if (stat(path, &st) < 0) return cannot_see(path, why, cap);
  json_t *all = st.st_size <= FILE_BYTES_MAX ? json_load_file(path, 0, &err) : NULL;
  list = json_object_get(all, "peers");
  if (!json_is_array(list)) rc = TL_ESYNTAX;
  json_array_foreach(list, i, j) if (rc == TL_OK) rc = read_entry(a, j);
  json_decref(all);
  if (rc == TL_OK) return rc;
  return say(why, cap, TL_ECONFIG, path,
             "it is not as `ctl peer` has written it: mend it or take it away");
}

static const char *path_of(struct tl_control *c) {
  return tl_runtime_published(c->rt)->conf->opt.peer_state_file;
}

int tl_admin_set(struct tl_control *c, const struct tl_admin_entry *e, char *why, size_t cap) {
  struct tl_admin *a = admin_of(c);
  const struct tl_peer_table *t = tl_runtime_published(c->rt)->peers;
  const struct tl_conf_peer *peer = tl_peer_table_by_name(t, e->peer);
  int rc = a ? put_entry(a, e) : TL_ENOMEM;
  *why = '\0';
  if (rc == TL_OK && peer) rc = apply_peer(a, peer);
  if (rc == TL_OK) write_beside(a, path_of(c), why, cap);
  return rc;
}

json_t *tl_admin_json(const struct tl_admin_entry *e) {
  if (!e) return json_null();
  return json_pack("{s:s, s:o, s:o}", "state", tl_admin_state_names[e->state], "by",
                   tl_json_text(e->by), "at", tl_json_time(e->at));
}

/* ---- the service ---- */

static int admin_start(struct tl_control *c) {
  struct tl_admin *a = admin_of(c);
  int rc = a ? read_file(a, path_of(c), c->problem, sizeof(c->problem)) : TL_ENOMEM;
  if (rc == TL_OK) tl_admin_adopt(c, tl_runtime_published(c->rt)->peers);
  return rc;
}

static void admin_stop(struct tl_control *c) {
  for (size_t i = 0; c->admin && i < c->admin->n; i++) clear_entry(&c->admin->e[i]);
  free(c->admin);
  c->admin = NULL;
}

const struct tl_control_service tl_admin_service = {
    .name = "states of peers", .start = admin_start, .stop = admin_stop};
