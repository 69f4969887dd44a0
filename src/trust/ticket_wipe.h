/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of session-ticket keys.
 *
 * Ownership: nothing. Threads: any. Errors: none.
 */
#pragma once

#include "tieline/conf.h"

/* Wipes the expired ticket keys of CONF's domains; returns when to look again. */
uint64_t tl_tickets_look(const struct tl_conf *conf, uint64_t now_ms);
