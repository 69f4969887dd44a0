/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An allocator that can say no: malloc and its kin of the whole process, with
 * those of OpenSSL and of every other library, as seen from our code. Only what
 * our code asks for, itself or through a library, counts; what a test asks for
 * is always given. Needs a build with OOM=1: our functions and the tests' tell
 * by the compiler's hooks (-finstrument-functions) which of them runs.
 *
 * A site is where an allocation is asked for: the functions of ours that led
 * there, and the place in the library.
 *
 * Ownership: the state is one shared mapping, also for children. Threads: any.
 * Errors: none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define OOM_SITES_MAX 400000u

/* Makes the state and tells OpenSSL, before its first use. Again in a process that shall share its
 * state with its own children only. */
void oom_init(void);

/* The next test: allocations are counted from 0 and their sites recorded; the one with number
 * OCCURRENCE (from 1) of SITE is refused. 0: none. */
void oom_plan(uint64_t site, uint32_t occurrence);
/* With it the refused allocation says by its stack where it was. */
void oom_trace(bool on);
/* Sites of the allocations since oom_plan, in their order; valid until the next oom_plan. */
const uint64_t *oom_sites(uint32_t *out_n);
/* Has something been refused since oom_plan, or since oom_begin? */
bool oom_refused(void);

/* In a test: the N-th allocation from here on is refused. Always true, so that a loop can say
 * for (unsigned n = 1; oom_begin(n); n++) { ...; if (!oom_end()) break; ... } */
bool oom_begin(unsigned n);
/* Nothing is refused any more; true when something was. */
bool oom_end(void);

/* How often the main thread of the test has called a function or come back from one, and whether it
 * is in our code now: for the parent that looks whether it still moves. */
uint64_t oom_steps(bool *out_ours);
