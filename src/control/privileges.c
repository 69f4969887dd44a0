/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From root to a user of no power. One capability stays, CAP_NET_BIND_SERVICE,
 * because threads bind their listeners after this and a reload may add one.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tieline/control.h"

static int keep_bind_only(void) {
  struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
  data[0].effective = data[0].permitted = 1u << CAP_NET_BIND_SERVICE;
  return (int)syscall(SYS_capset, &head, data);
}

static int failed(const char *what, const char *user, char *err, size_t cap) {
  snprintf(err, cap, "user %s: %s: %s", user, what, strerror(errno));
  return TL_EPERM;
}

int tl_privileges_drop(const char *user, char *err, size_t cap) {
  errno = 0;
  const struct passwd *pw = getpwnam(user);
  if (!pw) {
    snprintf(err, cap, "user %s: there is no such user", user);
    return TL_ENOTFOUND;
  }
  if (geteuid() == pw->pw_uid && getuid() == pw->pw_uid) return 0;
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) return failed("capabilities", user, err, cap);
  if (initgroups(user, pw->pw_gid) < 0) return failed("groups", user, err, cap);
  if (setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0) return failed("group", user, err, cap);
  if (setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0) return failed("user", user, err, cap);
  if (keep_bind_only() < 0) return failed("capabilities", user, err, cap);
  /* Private keys are in this memory: no core file, no ptrace by others of the same user. */
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return failed("core dumps", user, err, cap);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return failed("privileges", user, err, cap);
  return 0;
}
