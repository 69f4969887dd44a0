/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of groups: what they become, how they print and change, and every rule by its breach. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "test_conf_util.h"
#include "tieline/conf_changes.h"

TestSuite(conf_group, .init = conf_setup, .fini = conf_teardown);

#define L "listen \"udp:127.0.0.1:5999\" {}\n"
#define PEERS                                                                                      \
  "peer \"a\" { uri = \"sip:127.0.0.1:6001\" }\n"                                                  \
  "peer \"b\" { uri = \"sip:127.0.0.1:6002\" }\n"                                                  \
  "peer \"c\" { uri = \"sip:127.0.0.1:6003\" }\n"
#define GROUP(body) L PEERS "group \"us\" {\n" body "\n}\nroute \"r\" { peers = us }\n"

static struct tl_conf *good(const char *text, const struct tl_conf *previous) {
  struct conf_try t = conf_try(text, previous);
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  return t.conf;
}

Test(conf_group, d33_members_by_priority_then_as_written) {
  struct tl_conf *c = good(L PEERS "group \"us\" {\n method = weight\n"
                                   " member \"c\" { priority = 2 weight = 7 }\n"
                                   " member \"b\" { }\n member \"a\" { weight = 3 }\n}\n"
                                   "group \"eu\" { member \"b\" { } member \"c\" { } }\n"
                                   "route \"r\" { peers = { \"c\", \"us\", \"eu\" } }\n",
                           NULL);
  const struct tl_route_table *t = conf_view(c)->routes;
  const struct tl_conf_route *r = &t->route[0];
  cr_assert_eq(t->n_group, 2);
  const struct tl_peer_group *g = &t->group[0];
  cr_expect(g->method == TL_GROUP_WEIGHT && g->n == 3);
  cr_expect_str_eq(g->member[0].peer->name, "b");
  cr_expect_str_eq(g->member[1].peer->name, "a");
  cr_expect_str_eq(g->member[2].peer->name, "c");
  cr_expect_eq(g->member[0].weight, 1);
  cr_expect(g->member[2].priority == 2 && g->member[2].weight == 7);
  cr_assert_eq(r->n_dest, 3);
  cr_expect(r->dest[0].peer && r->dest[1].group == g && r->dest[2].group == &t->group[1]);
  cr_expect_eq(r->n_peer, 3); /* each once */
  tl_conf_unref(c);
}

Test(conf_group, d33_printed_as_it_loads) {
  static const char *const text[] = {
      GROUP("method = least-calls member \"a\" { } member \"b\" { weight = 4 }"),
      GROUP("member \"a\" { priority = 7 }"), GROUP("method = round-robin member \"a\" { }")};
  for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
    struct tl_conf *c = good(text[i], NULL);
    char *first = conf_printed(c, false), *explained = conf_printed(c, true);
    struct tl_conf *again = good(first, NULL), *third = good(explained, NULL);
    char *second = conf_printed(again, false), *last = conf_printed(third, false);
    cr_expect_str_eq(first, second);
    cr_expect_str_eq(first, last);
    cr_expect_not_null(strstr(first, "\ngroup \"us\" {\n  method = "));
    cr_expect_not_null(strstr(first, "\n  member \"a\" {\n    priority = "));
    cr_expect_eq(conf_view(c)->peers->peer[0].counts_calls, i == 0);
    cr_expect_not(conf_view(c)->peers->peer[2].counts_calls);
    free(first), free(second), free(last), free(explained);
    tl_conf_unref(c), tl_conf_unref(again), tl_conf_unref(third);
  }
}

static void note_change(void *arg, const char *name, enum tl_conf_change change) {
  (void)name;
  *(enum tl_conf_change *)arg = change;
}

Test(conf_group, d33_what_a_reload_says_of_it) {
  static const struct {
    const char *text;
    enum tl_conf_change want;
  } r[] = {
      {GROUP("member \"a\" { } member \"b\" { priority = 2 }"), TL_CONF_SAME},
      {GROUP("member \"a\" { } member \"b\" { priority = 3 }"), TL_CONF_CHANGED},
      {GROUP("member \"b\" { priority = 2 } member \"a\" { }"), TL_CONF_CHANGED},
      {GROUP("member \"a\" { }"), TL_CONF_CHANGED},
      {GROUP("member \"a\" { } member \"b\" { priority = 2 } member \"c\" { }"), TL_CONF_CHANGED},
      {GROUP("method = random member \"a\" { } member \"b\" { priority = 2 }"), TL_CONF_CHANGED},
  };
  struct tl_conf *before = good(r[0].text, NULL);
  for (size_t i = 0; i < sizeof(r) / sizeof(r[0]); i++) {
    struct tl_conf *after = good(r[i].text, before);
    enum tl_conf_change got = TL_CONF_ADDED;
    tl_conf_each_change(before, after, TL_CONF_GROUPS, note_change, &got);
    cr_expect_eq(got, r[i].want, "%zu", i);
    tl_conf_unref(after);
  }
  tl_conf_unref(before);
}

Test(conf_group, d33_rules_by_their_breach) {
  static const struct {
    const char *text, *want;
  } b[] = {
      {GROUP(""), "t.conf:5: group \"us\" has no member"},
      {GROUP("member \"x\" { }"), "t.conf:6: there is no peer \"x\""},
      {GROUP("member \"a\" { } member \"a\" { }"),
       "t.conf:6: there is already a member block named \"a\" here"},
      {GROUP("method = weight\nmember \"a\" { weight = 0 }\nmember \"b\" { weight = 0 }"),
       "t.conf:5: all members of group \"us\" have weight 0: none would be the first"},
      {GROUP("member \"a\" {\nweight = 2 }"),
       "t.conf:7: weight means nothing to group \"us\": its method does not share by it"},
      {GROUP("member \"a\" { wieght = 2 }"),
       "t.conf:6: unknown option \"wieght\" in a member block; did you mean \"weight\"?"},
      {GROUP("members = a"), "t.conf:6: unknown option \"members\" in a group block; did you mean "
                             "\"member\"?"},
      {GROUP("member { }"), "t.conf:6: member opens a block and needs a name"},
      {GROUP("peer \"z\" { }"), "t.conf:6: a peer block cannot stand inside a group block"},
      {L PEERS "member \"a\" { }", "t.conf:5: a member block stands inside a group block"},
      {L PEERS "group \"us\" { member \"a\" { member \"b\" { } } }",
       "t.conf:5: a member block cannot stand inside a member block"},
      {L PEERS "group \"a\" { member \"b\" { } }",
       "t.conf:5: there is already a peer called \"a\": routes could mean either"},
      {L PEERS "group \"us\" { member \"b\" { } }\ngroup \"us\" { member \"b\" { } }",
       "t.conf:6: there is already a group block named \"us\""},
      {L PEERS "route \"r\" { peers = uss }\ngroup \"us\" { member \"b\" { } }",
       "t.conf:5: there is no peer or group \"uss\""},
      {L PEERS "group \"us\" { member \"b\" { } }\nroute \"r\" { peers = { us, us } }",
       "t.conf:6: peers names \"us\" twice"},
      {L PEERS "group \"us\" { member \"b\" { } }\nroute \"r\" { from_peer = us peers = us }",
       "t.conf:6: there is no peer \"us\""},
      {L PEERS "group \"us\" { method = round-robin member \"b\" { } }\n"
               "route \"r\" {\nstateless = true peers = us }",
       "t.conf:7: route \"r\" is stateless, so a repeated request could go another way"},
      {L "peer \"a\" { uri = \"sip:127.0.0.1\" max_calls = 5 }\ngroup \"us\" { member \"a\" { } }\n"
         "route \"r\" {\nstateless = true peers = us }",
       "t.conf:5: route \"r\" is stateless, so the max_calls of its peer \"a\" could not be kept"},
  };
  for (size_t i = 0; i < sizeof(b) / sizeof(b[0]); i++) {
    struct conf_try t = conf_try(b[i].text, NULL);
    cr_expect_eq(t.rc, TL_ECONFIG, "accepted: %s", b[i].text);
    cr_expect(conf_complains(&t, b[i].want), "%s\nwanted: %s\n   got: %s", b[i].text, b[i].want,
              t.complaint[0]);
    conf_try_free(&t);
  }
}

Test(conf_group, d33_too_many_members) {
  char *text = NULL;
  size_t n;
  FILE *f = open_memstream(&text, &n);
  fputs(L, f);
  for (int i = 0; i < 65; i++)
    fprintf(f, "peer \"p%d\" { uri = \"sip:127.0.0.1:%d\" }\n", i, 6000 + i);
  fputs("group \"us\" {\n", f);
  for (int i = 0; i < 65; i++) fprintf(f, "member \"p%d\" { }\n", i);
  fputs("}\nroute \"r\" { peers = us }\n", f);
  fclose(f);
  struct conf_try t = conf_try(text, NULL);
  cr_expect(conf_complains(&t, "t.conf:67: group \"us\" has 65 members; there may be 64"), "%s",
            t.complaint[0]);
  conf_try_free(&t);
  free(text);
}
