/* SPDX-License-Identifier: Apache-2.0 */
/* A message, from the network or from another worker: to the requests or to the responses. */
#include "proxy.h"
#include "request.h"
#include "response.h"
#include "source.h"

void tl_proxy_message(struct tl_proxy *p, const struct tl_origin *origin, const struct tl_msg *m,
                      const struct tl_body *body) {
  struct tl_conn *c = origin->c;
  if (m->is_request && m->via.alias && c && tl_conn_tls(c) && !tl_conn_alias_checked(c))
    tl_alias_offer(c, m->via.host, m->via.port);
  if (m->is_request)
    tl_request_handle(p, origin, m, body);
  else
    tl_response_handle(p, origin, m, body);
}
