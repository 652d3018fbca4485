/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_FRAME_H
#define NET_FRAME_H

/* UDP over IPv4 over Ethernet, taken apart and put together. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum { FRAME_HEADERS = 14 + 20 + 8 };

struct frame {
	uint8_t to[6], from[6];
	struct in_addr source, target;
	uint16_t source_port, target_port;
	struct slice payload; /* borrows from the frame */
};

/*
 * Checksums are not looked at: a guest with offloads leaves them to its card.
 * Return: false where it is not one whole UDP datagram.
 */
bool frame_parse(struct slice bytes, struct frame *frame) must_use_;
/*
 * Write the headers of @frame before its payload, which stands at
 * @bytes + FRAME_HEADERS already (frame->payload is that), with checksums.
 * Return: the frame's length.
 */
size_t frame_build(uint8_t *bytes, const struct frame *frame) must_use_;

uint16_t frame_get16(const uint8_t *p);
void frame_put16(uint8_t *p, uint16_t value);

#endif
