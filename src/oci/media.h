/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_MEDIA_H
#define OCI_MEDIA_H

/* The names that the image format gives to its parts (contract 5.2, 5.3). */

#define MEDIA_VM_CONFIG "application/vnd.cirruslabs.tart.config.v1"
#define MEDIA_DISK "application/vnd.cirruslabs.tart.disk.v2"
#define MEDIA_OLD_DISK "application/vnd.cirruslabs.tart.disk.v1"
#define MEDIA_OVERLAY "application/vnd.cirruslabs.tart.disk.asif.overlay.v1"
#define MEDIA_NVRAM "application/vnd.cirruslabs.tart.nvram.v1"

/* of the manifest */
#define ANNOTATION_DISK_SIZE "org.cirruslabs.tart.uncompressed-disk-size"
#define ANNOTATION_UPLOAD_TIME "org.cirruslabs.tart.upload-time"
#define ANNOTATION_BLOCK_SIZE "org.cirruslabs.tart.disk.block-size"
/* of a slice */
#define ANNOTATION_SIZE "org.cirruslabs.tart.uncompressed-size"
#define ANNOTATION_CONTENT "org.cirruslabs.tart.uncompressed-content-digest"
/* of the first slice of a stacked image's disk and of each overlay */
#define ANNOTATION_FILE_CONTENT "org.cirruslabs.tart.disk-file-content-digest"
#define ANNOTATION_FILE_CHUNKS "org.cirruslabs.tart.disk-file-chunk-count"

#define LABEL_DISK_FORMAT "org.cirruslabs.tart.disk.format"

#endif
