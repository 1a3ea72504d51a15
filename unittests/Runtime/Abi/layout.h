/*===- layout.h - Where the members of the C API's structs lie
 * --------------===*/
#ifndef SPARSE_UNITTESTS_ABI_LAYOUT_H
#define SPARSE_UNITTESTS_ABI_LAYOUT_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sparse_abi_member {
  const char *name; /* null ends a list */
  size_t offset, bytes;
};

/* The members of a version, where its own header and where the newest header
   put them. */
extern const struct sparse_abi_member sparse_abi_v1[], sparse_abi_v1_now[],
    sparse_abi_v2[], sparse_abi_v2_now[], sparse_abi_v3[], sparse_abi_v3_now[];

#ifdef __cplusplus
}
#endif

#endif
