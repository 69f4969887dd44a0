/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one error convention of tieline.
 *
 * Every fallible function returns int: 0 (TL_OK) or a negative code from this
 * enum. SIP status codes are something else and never travel as errors.
 *
 * Ownership: none. Threads: any. Errors: this file.
 */
#pragma once

enum tl_err {
  TL_OK = 0,
  TL_EAGAIN = -1,    /* more input is needed, or try again later */
  TL_ENOMEM = -2,    /* an allocation failed */
  TL_EINVAL = -3,    /* the caller's argument is out of range */
  TL_ESYNTAX = -4,   /* input violates its grammar */
  TL_ELIMIT = -5,    /* a configured or fixed bound was reached */
  TL_ENOTFOUND = -6, /* no such thing */
  TL_EEXIST = -7,    /* already there */
  TL_EIO = -8,       /* a system call failed; errno was logged or recorded */
  TL_ECLOSED = -9,   /* the other side closed */
  TL_ETIMEOUT = -10, /* a deadline passed */
  TL_ENOTSUP = -11,  /* this kernel, library or build cannot do it */
  TL_ETLS = -12,     /* handshake or record protocol failure */
  TL_EVERIFY = -13,  /* certificate or name did not verify */
  TL_EBADMAC = -14,  /* a record or token failed authentication */
  TL_ECONFIG = -15,  /* configuration refused */
  TL_EPERM = -16,    /* not permitted */
  TL_EBUSY = -17,    /* in use */
  TL_ELARGE = -18,   /* more than its receiver takes */
};

/* A short English phrase for CODE; never NULL. */
const char *tl_strerror(int code);
