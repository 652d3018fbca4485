/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_LZVN_H
#define STORE_LZVN_H

/* LZVN, the byte-aligned Lempel-Ziv code that LZFSE uses for small inputs. */

#include "base/str.h"
#include "store/lz_output.h"

struct error;

/*
 * Decode the whole of @in, which ends with the end-of-stream code, and add what it says to @out;
 * matches may reach back into what was there before. E_INVALID: damaged, or more than fits.
 */
int lzvn_decode(struct slice in, struct lz_output *out, struct error *err) must_use_;

#endif
