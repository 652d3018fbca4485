/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_STATUS_H
#define OCI_STATUS_H

/* What a person is told of an HTTP exchange that went wrong. */

struct error;
struct http_request;
struct http_response;
struct str;

/*
 * The status was not what was hoped for: in Tart's words, with the method, the URL and what the
 * registry itself says (distribution-spec, "Error Codes"). @when: "pulling manifest". Return:
 * -E_FAILED.
 */
int status_error(struct error *err, const char *when, const struct http_request *request,
		 const struct http_response *response);
/* Append "GET URL: what the registry says". */
void status_add_details(const struct http_request *request, const struct http_response *response,
			struct str *out);
/* Put the method and the URL in front of @err. Return: -err->code. */
int status_wrap(struct error *err, const struct http_request *request);

#endif
