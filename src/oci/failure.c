/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/failure.h"

#include <string.h>

#include "base/error.h"

/* Would the same go wrong again? */
static bool is_lasting(CURLcode code, const char *why)
{
	switch ((int)code) {
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return true;
	case CURLE_SSL_CONNECT_ERROR: /* a server that speaks plain http */
		return strstr(why, "wrong version number") != NULL;
	default:
		return false;
	}
}

/* libcurl ends its line with "Couldn't connect to server": the system knows why. */
static void say_why_not_connected(CURL *curl, const char *why, struct error *err)
{
	const char *end = strstr(why, ": Couldn't connect");
	long number = 0;

	(void)curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &number);
	if (number && end)
		(void)error_set(err, E_FAILED, "%.*s: %s", (int)(end - why), why,
				strerror((int)number));
	else
		(void)error_set(err, E_FAILED, "%s", why);
}

bool failure_explain(CURL *curl, CURLcode code, const char *why, struct error *err)
{
	bool lasting = is_lasting(code, why);

	if (code == CURLE_COULDNT_CONNECT)
		say_why_not_connected(curl, why, err);
	else if (code == CURLE_SSL_CONNECT_ERROR && lasting)
		(void)error_set(err, E_FAILED,
				"the server does not speak TLS (is --insecure missing?)");
	else
		(void)error_set(err, E_FAILED, "%s", why[0] ? why : curl_easy_strerror(code));
	return lasting;
}
