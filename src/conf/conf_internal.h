/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of a load and how they call each other; what they hand on is in the
 * headers beside this one: problems (conf_report.h), tokens (conf_source.h), the
 * table of options (conf_table.h), the values as written (conf_block.h).
 *
 * text -> tokens (conf_source) -> grammar (conf_parse) -> blocks of typed values,
 * driven by the table (conf_table, conf_value) -> checks (conf_check) -> the
 * snapshot (conf_build, conf_domain, conf_names).
 *
 * Ownership: said at each structure. Threads: one load at a time uses them, then
 * they are constant. Errors: TL_ECONFIG, after the report.
 */
#pragma once

#include "conf/conf_block.h"
#include "tieline/conf.h"
#include "tieline/err.h"
#include "tieline/view.h"

/* The grammar: tokens of R->source into R's blocks. Stops at the first breach of grammar, reports
 * every bad value. */
int tl_conf_parse(struct tl_raw *r, struct tl_conf_ctx *ctx);
/* Finds values that contradict each other and names that do not exist: every check that needs
 * neither a file nor the network. Also fills in defaults that depend on other options (inheritance,
 * roles, cores). */
int tl_conf_check(struct tl_raw *r, struct tl_conf_ctx *ctx);
/* Runs between the two: turns the rows of tls_database into TLS domains beside those of the files.
 * A row named default replaces the files' default. */
int tl_conf_read_database(struct tl_raw *r, struct tl_conf_ctx *ctx);

/* ---- addresses as written ---- */

/* "tls:[::1]:5061"; ERR says what is wrong. */
int tl_conf_parse_listen(const char *text, enum tl_transport *out_t, struct tl_addr *out,
                         const char **err);
/* "host[:port]", HOST without port in *OUT_HOST (brackets kept); *OUT_PORT 0 if absent. */
int tl_conf_parse_hostport(const char *text, struct tl_str *out_host, uint16_t *out_port);
/* What "sip:host[:port][;transport=t]" of a peer says; HOST points into the text. */
struct tl_conf_peer_uri {
  enum tl_transport transport; /* udp if none is written */
  struct tl_str host;
  uint16_t port; /* 0: none is written */
  bool sips, any_transport;
};
int tl_conf_parse_peer_uri(const char *text, struct tl_conf_peer_uri *out, const char **err);

/* "TLSv1_2-TLSv1_3", "TLSv1_2-", "TLSv1_3", "SSLv23" or a list of them, to enum tl_tls_version. On
 * TL_ECONFIG *OUT_NOTE says what is wrong; on success it may hold a warning, else NULL. */
int tl_conf_parse_method(const char *text, int *out_min, int *out_max, const char **out_note);

/* ---- the snapshot ---- */

/* An empty one of FILE with the generation after PREVIOUS's (may be NULL); one reference. */
struct tl_conf *tl_conf_new(const char *file, const struct tl_conf *previous);
/* Fills C from C->raw. PREVIOUS lends TLS domains that have not changed. */
int tl_conf_build(struct tl_conf *c, const struct tl_conf *previous, struct tl_conf_ctx *ctx);
int tl_conf_build_domains(struct tl_conf *c, const struct tl_conf *previous,
                          struct tl_conf_ctx *ctx);

/* conf_peer.c. The peers of C->raw, whose TLS domains are C's; PREVIOUS (may be NULL) lends what is
 * known of them. */
void tl_conf_check_identity(const struct tl_block *b, enum tl_transport t, struct tl_conf_ctx *ctx);
int tl_conf_build_peers(const struct tl_conf *c, const struct tl_peer_table *previous,
                        struct tl_conf_ctx *ctx, struct tl_peer_set **out);
/* conf_route.c: conditions on the source of a request; the routes of C->raw to PEERS. */
void tl_conf_check_source(const struct tl_block *b, struct tl_conf_ctx *ctx);
int tl_conf_build_routes(const struct tl_conf *c, struct tl_peer_set *peers,
                         struct tl_route_table **out);

/* conf_group.c: blocks of groups, and what they mean for a route that has no transactions. */
void tl_conf_check_group(struct tl_raw *r, const struct tl_block *b, struct tl_conf_ctx *ctx);
void tl_conf_check_stateless(struct tl_raw *r, const struct tl_block *b, struct tl_conf_ctx *ctx);
/* Has the calls of those peers of S counted that are in a group which goes by their number. */
void tl_conf_count_calls(struct tl_peer_set *s);
/* The groups of T's blocks. */
int tl_conf_build_groups(struct tl_route_table *t);
/* The peer called NAME; NULL. Peers stand in the order of their blocks. */
const struct tl_conf_peer *tl_conf_peer_named(const struct tl_peer_set *peers, const char *name);

/* conf_list.c. L may be NULL. */
void tl_conf_list_free(char **l);
/* Is text NUMBER of LIST the first of its kind? SEEN has those that were asked for. TL_ENOMEM. */
int tl_conf_list_note(struct tl_index_map *seen, char *const *list, uint32_t number,
                      bool *out_first);
/* Lists of outcomes; an empty one that is written is one, too. */
void tl_conf_check_outcomes(const struct tl_block *b, const char *option, char *const *list,
                            struct tl_conf_ctx *ctx);
void tl_conf_build_outcomes(const struct tl_block *b, const char *option, char *const *list,
                            struct tl_outcomes *out);
void tl_conf_check_networks(const struct tl_block *b, const char *option, char *const *list,
                            struct tl_conf_ctx *ctx);
int tl_conf_build_networks(char *const *list, struct tl_network **out, size_t *out_n);
void tl_conf_check_statuses(const struct tl_block *b, const char *option, char *const *list,
                            struct tl_conf_ctx *ctx);
/* Adds those of LIST, which has been checked, to OUT. */
void tl_conf_build_statuses(char *const *list, struct tl_status_set *out);
/* Warns of suites whose records the running kernel cannot take. */
void tl_conf_warn_offload(const struct tl_conf *c, struct tl_conf_ctx *ctx);
/* Warns where body_relay = splice has nothing to work with. */
void tl_conf_warn_relay(const struct tl_conf *c, struct tl_conf_ctx *ctx);
/* Can it reach the bodies of C's domain I on a kernel with CAN? */
struct tl_ktls_caps;
bool tl_conf_domain_splices(const struct tl_conf *c, size_t i, const struct tl_ktls_caps *can);
/* The suites of D that a kernel with CAN does not take, separated by blanks. */
void tl_conf_not_offloaded(const struct tl_tls_domain *d, const struct tl_ktls_caps *can,
                           char *text, size_t cap);
/* Fails if an option changed that cannot change while running. */
int tl_conf_check_reload(const struct tl_raw *now, const struct tl_raw *before,
                         struct tl_conf_ctx *ctx);

/* A domain's options and every byte of the files they name, as one digest. */
void tl_conf_fingerprint(const struct tl_block *b, uint8_t out[TL_CONF_FINGERPRINT]);
/* The same without the options that only decide whom to trust: when one of those changes, connected
 * peers are verified again instead of being disconnected. */
void tl_conf_fingerprint_core(const struct tl_block *b, uint8_t out[TL_CONF_FINGERPRINT]);

/* conf_token_keys.c: those of C's key_file; where there is none, PREVIOUS's (may be NULL), or the
 * process's own. */
int tl_conf_read_token_keys(struct tl_conf *c, const struct tl_conf *previous,
                            struct tl_conf_ctx *ctx);

/* The identity map. OPTION is where the configuration names FILE. */
int tl_conf_map_read(const char *file, struct tl_conf_pos option, struct tl_conf_ctx *ctx,
                     struct tl_conf_map **out);
void tl_conf_map_free(struct tl_conf_map *m);

/* Names and addresses that are ours, for tl_conf_is_local. */
struct tl_conf_names;
int tl_conf_names_new(const struct tl_conf *c, char *const *domains, struct tl_conf_names **out);
void tl_conf_names_free(struct tl_conf_names *n);

/* ---- listeners by address (listen_index.c) ---- */

int tl_listen_index_new(const struct tl_conf *c, struct tl_listen_index **out);
void tl_listen_index_free(struct tl_listen_index *x);
/* The first address of this machine, of the family of ANY, that is not loopback. */
int tl_conf_own_address(const struct tl_addr *any, struct tl_addr *out);
