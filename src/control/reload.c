/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reload: a whole new snapshot or nothing. src/conf reads and checks; this file
 * reports the outcome and publishes.
 */
#include <stdatomic.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "control/admin.h"
#include "control/command.h"
#include "control/control_internal.h"
#include "control/reload.h"
#include "control/rpc.h"

static void collect_problem(void *arg, const char *file, int line, const char *sentence) {
  char where[512];
  json_t *list = arg;
  snprintf(where, sizeof(where), "%s:%d: %s", file ? file : "configuration", line, sentence);
  json_array_append_new(list, tl_rpc_text(where, SIZE_MAX));
}

static void log_problems(enum tl_log_level level, const char *sentence, const json_t *list) {
  size_t i;
  json_t *v;
  json_array_foreach(list, i, v) TL_LOG(level, sentence, TL_FC("problem", json_string_value(v)));
}

static void on_refused(struct tl_control *c, json_t *problems, struct tl_answer *a) {
  tl_count(&c->rt->control.counters, TL_C_RELOAD_FAILED);
  TL_LOG(TL_LOG_ERROR, "The configuration was refused; the old one stays.",
         TL_FI("problems", json_array_size(problems)));
  log_problems(TL_LOG_ERROR, "Problem in the configuration.", problems);
  tl_command_fail(a, TL_RPC_REFUSED, "the configuration was refused, the old one stays");
  a->data = json_pack("{s:o}", "problems", problems);
}

/* The reply as far as it is known before the connections have been audited. */
static void begin_answer(const struct tl_view *before, const struct tl_view *after,
                         json_t *warnings, struct tl_answer *a) {
  a->result = tl_reload_diff(before, after);
  json_object_set_new(a->result, "generation", json_integer((json_int_t)after->conf->generation));
  json_object_set_new(a->result, "warnings", warnings);
}

static size_t take_over(struct tl_control *c, const struct tl_view *before, struct tl_view *after,
                        const struct tl_reload_how *how, json_t *warnings, struct tl_answer *a) {
  struct tl_conf *was = before->conf, *now = after->conf;
  const struct tl_reload_how as_configured = {now->opt.reload_drain, now->timeouts.retire};
  if (!how) how = &as_configured;
  tl_count(&c->rt->control.counters, TL_C_RELOAD_OK);
  log_problems(TL_LOG_WARN, "Warning about the configuration.", warnings);
  begin_answer(before, after, warnings, a);
  tl_log_set_level(now->opt.log_level);
  size_t former = tl_ledger_reloaded(c->trust.ledger, was, now, how->mode, how->within_ms);
  TL_LOG(TL_LOG_INFO, "The configuration was reloaded.", TL_FI("generation", now->generation),
         TL_FI("domains", now->n_domain), TL_FI("peers", after->peers->n),
         TL_FI("routes", after->routes->n), TL_FI("domains_changed", former));
  tl_crl_prepare(c->trust.crl, was, now);
  tl_names_adopt(c, after->peers);
  tl_admin_adopt(c, after->peers);
  tl_runtime_publish(c->rt, after); /* BEFORE is gone */
  if (former) tl_ledger_wake(c->trust.ledger, false);
  return former;
}

size_t tl_reload_conf(struct tl_control *c, const struct tl_reload_how *how, struct tl_answer *a) {
  const struct tl_view *before = tl_runtime_published(c->rt);
  struct tl_view *after = NULL;
  json_t *reports = json_array();
  size_t former = 0;
  sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reading the configuration",
             (unsigned long long)tl_now_ms() * 1000);
  if (tl_conf_load(before->conf->file, before, collect_problem, reports, &after))
    on_refused(c, reports, a);
  else
    former = take_over(c, before, after, how, reports, a);
  sd_notifyf(0, "READY=1\nSTATUS=Running, configuration %llu",
             (unsigned long long)atomic_load_explicit(&c->rt->generation, memory_order_relaxed));
  return former;
}

void tl_reload_unasked(struct tl_control *c) {
  struct tl_answer a = {0};
  tl_reload_conf(c, NULL, &a);
  json_decref(a.result);
  json_decref(a.data);
}

/* "now", "keep", "graceful" or "graceful:30"; false if it is none of them. */
static bool how_of(struct tl_control *c, const char *text, struct tl_reload_how *out) {
  struct tl_conf *conf = tl_runtime_conf(c->rt);
  out->within_ms = conf->timeouts.retire;
  tl_conf_unref(conf);
  uint64_t seconds;
  if (strcmp(text, "now") == 0 || strcmp(text, "keep") == 0) {
    out->mode = *text == 'n' ? TL_DRAIN_NOW : TL_DRAIN_KEEP;
    return true;
  }
  if (strncmp(text, "graceful", 8) != 0) return false;
  out->mode = TL_DRAIN_GRACEFUL;
  if (text[8] == '\0') return true;
  if (text[8] != ':' || tl_str_u64(tl_str_c(text + 9), 86400, &seconds)) return false;
  out->within_ms = (uint32_t)seconds * 1000;
  return true;
}

int tl_command_reload(struct tl_control *c, struct tl_request *req, const json_t *params,
                      struct tl_answer *a) {
  struct tl_reload_how how;
  const json_t *drain = json_object_get(params, "drain");
  if (c->state != TL_CONTROL_RUNNING)
    return tl_command_fail(a, TL_RPC_NOT_NOW, "the daemon is stopping");
  if (drain && (!json_is_string(drain) || !how_of(c, json_string_value(drain), &how)))
    return tl_command_fail(a, TL_RPC_PARAMS,
                           "drain is now, keep, graceful or graceful:SECONDS (at most a day)");
  if (tl_reload_conf(c, drain ? &how : NULL, a) == 0) return 0;
  if (tl_ledger_request(c, req, a->result, 0))
    return 0; /* it is in force; the counts are missing */
  a->result = NULL;
  return TL_EAGAIN;
}
