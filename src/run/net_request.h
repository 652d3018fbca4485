/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_NET_REQUEST_H
#define RUN_NET_REQUEST_H

/*
 * What `linzer net` asks of a running VM over manage.sock, one JSON object a line:
 *
 *   {"net":"show"}
 *       -> {"Mode","Isolated","NoLocal","Allow":[..],"Block":[..],"Filter","Exposed":["2222:22"],
 *           "Cards":[{"MAC","Address","Leased","Interface","Parent","Drops":{"Gate","Out","In"}}]}
 *   {"net":"set"[,"allow":[..],"block":[..]][,"filter":"text"]}
 *       -> {}, when the filter is another; what is absent stays, but a list without the
 *          other empties the other
 */

struct network;
struct request;
struct str;

/* Do what @line says and answer @request, now or later. */
void net_request_serve(struct network *network, const struct str *line, struct request *request);

#endif
