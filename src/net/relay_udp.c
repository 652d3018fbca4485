/* SPDX-License-Identifier: Apache-2.0 */
#include "net/relay_udp.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/upstream.h"

enum { TRIES_MAX = 3, WAIT_MS = 2000 };

void udp_relay_init(struct udp_relay *relay, int keeper, int sock)
{
	relay->keeper = keeper;
	relay->sock = sock;
	for (unsigned i = 0; i < UDP_QUERIES_MAX; i++)
		relay->queries[i].fd = -1;
}

static struct udp_query *find_place(struct udp_relay *relay)
{
	for (unsigned i = 0; i < UDP_QUERIES_MAX; i++)
		if (relay->queries[i].fd < 0)
			return &relay->queries[i];
	return NULL;
}

static void free_place(struct udp_query *q)
{
	if (q->fd >= 0)
		(void)close(q->fd);
	q->fd = -1;
}

static void reply(const struct udp_relay *relay, const struct udp_query *q, uint8_t *message,
		  size_t len)
{
	dns_set_id(message, q->client_id);
	(void)sendto(relay->sock, message, len, MSG_DONTWAIT | MSG_NOSIGNAL,
		     (const struct sockaddr *)&q->client, sizeof(q->client));
}

/* Send to the next resolver that takes it; where none does, tell the guest. */
static void try_next(struct udp_relay *relay, struct udp_query *q)
{
	while (q->tries < TRIES_MAX) {
		free_place(q);
		q->fd = upstream_get(relay->keeper, TALKER_WANTS_UDP, q->tries++);
		if (q->fd >= 0 && send(q->fd, q->query, q->len, MSG_NOSIGNAL) >= 0) {
			q->deadline = clock_ms() + WAIT_MS;
			return;
		}
	}
	free_place(q);
	dns_make_failure(q->query);
	reply(relay, q, q->query, q->question);
}

void udp_relay_take(struct udp_relay *relay)
{
	uint8_t message[DNS_QUERY_MAX + 1];
	struct sockaddr_in client;
	socklen_t len = sizeof(client);
	struct udp_query *q = find_place(relay);
	ssize_t n = recvfrom(relay->sock, message, sizeof(message), MSG_DONTWAIT,
			     (struct sockaddr *)&client, &len);
	size_t question = n > 0 ? dns_check_query((struct slice){ message, (size_t)n }) : 0;

	if (!q || question == 0)
		return;
	q->client = client;
	q->client_id = dns_id(message);
	q->len = (uint16_t)n;
	q->question = (uint16_t)question;
	q->tries = 0;
	memcpy(q->query, message, (size_t)n);
	if (getrandom(&q->id, sizeof(q->id), GRND_NONBLOCK) != (ssize_t)sizeof(q->id))
		return;
	dns_set_id(q->query, q->id);
	try_next(relay, q);
}

void udp_relay_answer(struct udp_relay *relay, unsigned i)
{
	static uint8_t message[DNS_MESSAGE_MAX];
	struct udp_query *q = &relay->queries[i];
	ssize_t n;

	if (q->fd < 0)
		return;
	n = recv(q->fd, message, sizeof(message), MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		try_next(relay, q); /* refused */
	if (n <= 0 || !dns_is_answer((struct slice){ message, (size_t)n }, q->id,
				     (struct slice){ q->query, q->question }))
		return;
	reply(relay, q, message, (size_t)n);
	free_place(q);
}

void udp_relay_tick(struct udp_relay *relay)
{
	uint64_t now = clock_ms();

	for (unsigned i = 0; i < UDP_QUERIES_MAX; i++)
		if (relay->queries[i].fd >= 0 && relay->queries[i].deadline <= now)
			try_next(relay, &relay->queries[i]);
}
