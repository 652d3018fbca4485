/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_FAILURE_H
#define OCI_FAILURE_H

/* What libcurl says when a transfer fails, for a person. */

#include <curl/curl.h>
#include <stdbool.h>

struct error;

/*
 * Set @err (E_FAILED). @why: the text of CURLOPT_ERRORBUFFER. Return: will the same go wrong
 * again, so that another try is of no use?
 */
bool failure_explain(CURL *curl, CURLcode code, const char *why, struct error *err);

#endif
