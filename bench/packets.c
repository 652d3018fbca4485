/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A flood of UDP packets of 64 bytes on the wire, for bench/net.py, for which Python is too slow.
 *
 * usage: packets ADDRESS/16 SECONDS PACKETS-PER-FLOW    (0: one flow)
 *
 * Flow number n goes to address and port number n of the prefix. Prints how many were sent.
 */

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, PAYLOAD = 18, FIRST_PORT = 10000, ADDRESSES = 65000 };

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct sockaddr_in flow(uint32_t network, unsigned long n)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)(FIRST_PORT + n / ADDRESSES)),
		.sin_addr = { htonl(network + 1 + (uint32_t)(n % ADDRESSES)) },
	};
}

int main(int argc, char **argv)
{
	static char payload[PAYLOAD];
	struct iovec data = { payload, sizeof(payload) };
	struct sockaddr_in to[BATCH];
	struct mmsghdr batch[BATCH];
	unsigned long sent = 0, per_flow;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint32_t network;
	double end;

	if (argc != 4 || fd < 0)
		return 2;
	network = ntohl(inet_addr(argv[1]));
	end = now() + atof(argv[2]);
	per_flow = strtoul(argv[3], NULL, 10);
	memset(batch, 0, sizeof(batch));
	while (now() < end) {
		int n;

		for (unsigned i = 0; i < BATCH; i++) {
			to[i] = flow(network, per_flow ? (sent + i) / per_flow : 0);
			batch[i].msg_hdr = (struct msghdr){ .msg_name = &to[i],
							    .msg_namelen = sizeof(to[i]),
							    .msg_iov = &data,
							    .msg_iovlen = 1 };
		}
		n = sendmmsg(fd, batch, BATCH, 0);
		if (n < 0)
			return 1;
		sent += (unsigned)n;
	}
	printf("%lu\n", sent);
	return 0;
}
