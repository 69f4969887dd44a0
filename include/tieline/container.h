/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a member to the struct that holds it: how callbacks find their object.
 *
 * Ownership: none. Threads: any. Errors: none.
 */
#pragma once

#include <stddef.h>

/* The struct TYPE whose MEMBER is at PTR. */
#define tl_container_of(PTR, TYPE, MEMBER) ((TYPE *)((char *)(PTR)-offsetof(TYPE, MEMBER)))
