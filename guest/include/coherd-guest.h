/*
 * Memory of the host's GPU for programs in a Linux guest of coherd: allocated by property, mapped
 * with the type that it was allocated with, and kept right with brackets. Link with -lcoherd_guest.
 *
 * A program opens a context, allocates memory and maps it, and accesses its bytes between
 * coherd_guest_begin and coherd_guest_end only. These cost nothing where the memory needs no sync;
 * where it does, what the GPU wrote is visible after begin, and what the program wrote is visible
 * to the GPU after end.
 *
 * Any thread may call any function, but a handle must not be freed while another thread uses it.
 * Handles may be freed in any order: what needs another one keeps it. A function that returns a
 * result sets what its pointers point to only if that is COHERD_GUEST_RESULT_OK.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Bit of the `usage` of an allocation: shaders read and write it.
#define COHERD_GUEST_STORAGE 1

// Bit of the `usage` of an allocation: shaders read it as constants.
#define COHERD_GUEST_UNIFORM 2

// Bit of the `usage` of an allocation: it holds vertices.
#define COHERD_GUEST_VERTEX 4

// Bit of the `usage` of an allocation: it holds indices.
#define COHERD_GUEST_INDEX 8

// Bit of the `usage` of an image: shaders sample it.
#define COHERD_GUEST_SAMPLED 1

// Bit of the `usage` of an image: it is drawn to.
#define COHERD_GUEST_COLOR 2

// Bit of the `usage` of an image: it is shown.
#define COHERD_GUEST_SCANOUT 4

// Access: reading.
#define COHERD_GUEST_READ 1

// Access: writing.
#define COHERD_GUEST_WRITE 2

// Bit of `properties`: fast for the GPU.
#define COHERD_GUEST_DEVICE_LOCAL 1

// Bit of `properties`: it can be mapped.
#define COHERD_GUEST_HOST_VISIBLE 2

// Bit of `properties`: accesses through a mapping need no `coherd_guest_begin` and
// `coherd_guest_end`.
#define COHERD_GUEST_HOST_COHERENT 4

// Bit of `properties`: a mapping is cached.
#define COHERD_GUEST_HOST_CACHED 8

// A caching: nothing is known, or there is no mapping.
#define COHERD_GUEST_NO_CACHING 0

// A caching: as ordinary memory.
#define COHERD_GUEST_CACHED 1

// A caching: each access goes to memory.
#define COHERD_GUEST_UNCACHED 2

// A caching: writes are collected, reads go to memory.
#define COHERD_GUEST_WRITE_COMBINING 3

// How a call ended. Those from 100 on are the host's, by `docs/blob-context.md`.
enum coherd_guest_result {
    // It was done.
    COHERD_GUEST_RESULT_OK = 0,
    // A null pointer, a flag that is none, or a range that is not inside.
    COHERD_GUEST_RESULT_INVALID_ARGUMENT = 1,
    // There is no virtio-gpu with a blob context that can be opened.
    COHERD_GUEST_RESULT_NO_DEVICE = 2,
    // The kernel refused.
    COHERD_GUEST_RESULT_KERNEL = 3,
    // The host did not answer in time.
    COHERD_GUEST_RESULT_NO_ANSWER = 4,
    // The host has lost the context.
    COHERD_GUEST_RESULT_CONTEXT_LOST = 5,
    // The host's answer cannot be understood.
    COHERD_GUEST_RESULT_MALFORMED = 6,
    // The memory's type cannot be mapped.
    COHERD_GUEST_RESULT_NOT_MAPPABLE = 7,
    // Another access of this process is open in the range, and one of both writes.
    COHERD_GUEST_RESULT_IN_USE = 8,
    // A value that the format or the size of the memory forbids.
    COHERD_GUEST_RESULT_HOST_INVALID = 102,
    // The host does not know the command.
    COHERD_GUEST_RESULT_HOST_UNKNOWN_COMMAND = 103,
    // The memory is not this context's.
    COHERD_GUEST_RESULT_HOST_UNKNOWN_RESOURCE = 104,
    // The host has no such object.
    COHERD_GUEST_RESULT_HOST_UNKNOWN_OBJECT = 105,
    // The object's id is taken.
    COHERD_GUEST_RESULT_HOST_OBJECT_IN_USE = 106,
    // No memory type has what was required.
    COHERD_GUEST_RESULT_HOST_NO_MEMORY_TYPE = 107,
    // The host is out of memory.
    COHERD_GUEST_RESULT_HOST_OUT_OF_HOST_MEMORY = 108,
    // The GPU is out of memory.
    COHERD_GUEST_RESULT_HOST_OUT_OF_DEVICE_MEMORY = 109,
    // A quota of the VM or of the context is used up.
    COHERD_GUEST_RESULT_HOST_OVER_QUOTA = 110,
    // The GPU has no such format.
    COHERD_GUEST_RESULT_HOST_UNSUPPORTED_FORMAT = 111,
    // The GPU has the format with none of the modifiers.
    COHERD_GUEST_RESULT_HOST_UNSUPPORTED_MODIFIER = 112,
    // The GPU cannot do it.
    COHERD_GUEST_RESULT_HOST_UNSUPPORTED = 113,
    // The GPU did not finish in time.
    COHERD_GUEST_RESULT_HOST_TIMED_OUT = 114,
    // The GPU was lost.
    COHERD_GUEST_RESULT_HOST_DEVICE_LOST = 115,
    // An end without its begin.
    COHERD_GUEST_RESULT_HOST_NOT_OPEN = 116,
    // The host's policy about memory types forbids it.
    COHERD_GUEST_RESULT_HOST_REFUSED = 117,
    // It failed on the host.
    COHERD_GUEST_RESULT_HOST_FAILED = 118,
};

// An access that was begun.
struct coherd_guest_access;

// Memory of the host's device.
struct coherd_guest_allocation;

// A context. All threads may use it at once.
struct coherd_guest_context;

// A mapped allocation.
struct coherd_guest_mapping;

// What the host's device is.
struct coherd_guest_host {
    // The name of the host's device, which ends with a nul.
    char name[64];
    // Brackets work on ranges that are rounded to so many bytes.
    uint64_t atom_size;
    // Sizes are rounded up to so many bytes.
    uint64_t page_size;
    // Bytes of the largest allocation.
    uint64_t max_allocation_size;
    // Pixels along the longest side of an image.
    uint32_t max_image_dimension;
    // Memory types, for `coherd_guest_get_memory_type`.
    uint32_t type_count;
    // Heaps, for `coherd_guest_get_heap`.
    uint32_t heap_count;
    // Formats, for `coherd_guest_get_format`.
    uint32_t format_count;
    // Images can be made.
    bool images;
    // Blobs are dma-bufs on the host.
    bool dma_buf;
    // The device is a processor.
    bool software;
};

// A memory type of the host.
struct coherd_guest_memory_type {
    // `COHERD_GUEST_DEVICE_LOCAL` and so on.
    uint32_t properties;
    // The heap that it comes from.
    uint32_t heap;
    // How a mapping of it is cached; 0 if it cannot be mapped.
    uint32_t caching;
    // Accesses need `coherd_guest_begin` and `coherd_guest_end`.
    bool needs_sync;
};

// A heap of memory of the host.
struct coherd_guest_heap {
    // Bytes.
    uint64_t size;
    // It is memory of the GPU.
    bool device_local;
};

// A format of images, with a modifier.
struct coherd_guest_format {
    // A code of `drm_fourcc.h`.
    uint32_t fourcc;
    // Memory planes.
    uint32_t planes;
    // A modifier of `drm_fourcc.h`.
    uint64_t modifier;
    // `COHERD_GUEST_SAMPLED` and so on.
    uint32_t usage;
};

// What to allocate.
struct coherd_guest_allocation_request {
    // Bytes; rounded up to the host's pages.
    uint64_t size;
    // `COHERD_GUEST_HOST_VISIBLE` and so on: what the memory type has to have.
    uint32_t required;
    // What it should have beyond that.
    uint32_t preferred;
    // `COHERD_GUEST_STORAGE` and so on, beyond copies and fills.
    uint32_t usage;
    // It will be exported.
    bool shareable;
};

// What image to make.
struct coherd_guest_image_request {
    // Pixels along a line.
    uint32_t width;
    // Lines.
    uint32_t height;
    // A code of `drm_fourcc.h`.
    uint32_t fourcc;
    // `COHERD_GUEST_SAMPLED` and so on, beyond copies.
    uint32_t usage;
    // `COHERD_GUEST_HOST_VISIBLE` and so on: what the memory type has to have.
    uint32_t required;
    // What it should have beyond that.
    uint32_t preferred;
    // Modifiers of `drm_fourcc.h` to choose from; NULL with a count of 0 for any.
    const uint64_t *modifiers;
    // How many.
    uint32_t modifier_count;
    // It will be exported.
    bool shareable;
};

// A plane of an image.
struct coherd_guest_plane {
    // Bytes from the start of the memory.
    uint64_t offset;
    // Bytes from line to line.
    uint64_t pitch;
    // Bytes of the plane.
    uint64_t size;
};

// How an image lies in its memory.
struct coherd_guest_image_layout {
    // The modifier that the host chose.
    uint64_t modifier;
    // How many of `planes` there are.
    uint32_t plane_count;
    // The planes.
    struct coherd_guest_plane planes[4];
};

// What memory is.
struct coherd_guest_memory {
    // Bytes.
    uint64_t size;
    // Place of its type in the host's list.
    uint32_t type_index;
    // `COHERD_GUEST_DEVICE_LOCAL` and so on.
    uint32_t properties;
    // How a mapping of it is cached; 0 if it cannot be mapped.
    uint32_t caching;
    // How the VMM maps it; 0 if the host does not know.
    uint32_t file_caching;
    // How a mapping is really cached under the host's hypervisor; 0 if the host does not know.
    uint32_t effective_caching;
    // 0 not known, 1 dma-buf, 2 shared memory, 3 shared memory behind a header.
    uint32_t backing;
    // Accesses need `coherd_guest_begin` and `coherd_guest_end`.
    bool needs_sync;
    // All mappings of it have one type, as far as the host knows.
    bool agreed;
};

// Mappings of one kind and type.
struct coherd_guest_holder {
    // 1 guest, 2 VMM, 3 daemon, 4 another process of the host.
    uint32_t kind;
    // How they are cached; 0 if the host does not know.
    uint32_t caching;
    // How many there are.
    uint32_t count;
    // Accesses that are open through them.
    uint32_t open;
};

// What the host knows about memory at present.
struct coherd_guest_description {
    // The memory.
    struct coherd_guest_memory memory;
    // Accesses that are open.
    uint32_t open;
    // How many of `holders` there are.
    uint32_t holder_count;
    // Who maps it.
    struct coherd_guest_holder holders[16];
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// What the last call of this thread that failed says, and why; empty if none has. Valid until
// the next call that fails on this thread.
const char *coherd_guest_last_error(void);

// The name of a result, for logs.
const char *coherd_guest_result_name(uint32_t result);

// Opens a context of a render node, or with NULL of the first one in /dev/dri that will do. Close
// it with `coherd_guest_close`.
//
// # Safety
// `render_node` is null or a string; `out` is valid.
enum coherd_guest_result coherd_guest_open(const char *render_node,
                                           struct coherd_guest_context **out);

// Closes a context; NULL is none. What was made with it stays.
//
// # Safety
// `context` comes from `coherd_guest_open` and is not used again.
void coherd_guest_close(struct coherd_guest_context *context);

// What the host's device is.
//
// # Safety
// `context` is a context, `out` valid.
enum coherd_guest_result coherd_guest_get_host(const struct coherd_guest_context *context,
                                               struct coherd_guest_host *out);

// One of the host's memory types.
//
// # Safety
// `context` is a context, `out` valid.
enum coherd_guest_result coherd_guest_get_memory_type(const struct coherd_guest_context *context,
                                                      uint32_t index,
                                                      struct coherd_guest_memory_type *out);

// One of the host's heaps.
//
// # Safety
// `context` is a context, `out` valid.
enum coherd_guest_result coherd_guest_get_heap(const struct coherd_guest_context *context,
                                               uint32_t index,
                                               struct coherd_guest_heap *out);

// One of the host's formats.
//
// # Safety
// `context` is a context, `out` valid.
enum coherd_guest_result coherd_guest_get_format(const struct coherd_guest_context *context,
                                                 uint32_t index,
                                                 struct coherd_guest_format *out);

// Allocates memory. Free it with `coherd_guest_free`.
//
// # Safety
// `context` is a context, `request` and `out` are valid.
enum coherd_guest_result coherd_guest_allocate(const struct coherd_guest_context *context,
                                               const struct coherd_guest_allocation_request *request,
                                               struct coherd_guest_allocation **out);

// Makes an image. Free its memory with `coherd_guest_free`.
//
// # Safety
// `context` is a context; `request`, its modifiers, `layout` and `out` are valid.
enum coherd_guest_result coherd_guest_create_image(const struct coherd_guest_context *context,
                                                   const struct coherd_guest_image_request *request,
                                                   struct coherd_guest_image_layout *layout,
                                                   struct coherd_guest_allocation **out);

// Frees an allocation; NULL is none. Its memory stays as long as it is mapped.
//
// # Safety
// `allocation` comes from this library and is not used again.
void coherd_guest_free(struct coherd_guest_allocation *allocation);

// What memory an allocation is.
//
// # Safety
// `allocation` is an allocation, `out` valid.
enum coherd_guest_result coherd_guest_get_memory(const struct coherd_guest_allocation *allocation,
                                                 struct coherd_guest_memory *out);

// Asks the host what it knows about an allocation at present.
//
// # Safety
// `allocation` is an allocation, `out` valid.
enum coherd_guest_result coherd_guest_describe(const struct coherd_guest_allocation *allocation,
                                               struct coherd_guest_description *out);

// A dma-buf of an allocation, for other contexts of the device, such as Venus ones. The caller
// closes it.
//
// # Safety
// `allocation` is an allocation, `fd` valid.
enum coherd_guest_result coherd_guest_export(const struct coherd_guest_allocation *allocation,
                                             int *fd);

// An allocation of another context of the device, by a dma-buf of it, which stays the caller's.
//
// # Safety
// `context` is a context, `fd` an open file or negative, `out` valid.
enum coherd_guest_result coherd_guest_import(const struct coherd_guest_context *context,
                                             int fd,
                                             struct coherd_guest_allocation **out);

// Maps an allocation. Unmap it with `coherd_guest_unmap`.
//
// # Safety
// `allocation` is an allocation, `out` valid.
enum coherd_guest_result coherd_guest_map(const struct coherd_guest_allocation *allocation,
                                          struct coherd_guest_mapping **out);

// Unmaps; NULL is none. The memory stays mapped as long as an access is open.
//
// # Safety
// `mapping` comes from `coherd_guest_map`; neither it nor its data are used again.
void coherd_guest_unmap(struct coherd_guest_mapping *mapping);

// Where an allocation is mapped. The GPU may change what is there at any time.
//
// # Safety
// `mapping` is null, which gives NULL, or a mapping.
void *coherd_guest_mapping_data(const struct coherd_guest_mapping *mapping);

// How many bytes are mapped.
//
// # Safety
// `mapping` is null, which gives 0, or a mapping.
size_t coherd_guest_mapping_size(const struct coherd_guest_mapping *mapping);

// Begins to read or write a range of a mapping. What the GPU had written to it can be read when
// this returns. It costs nothing where the memory needs no sync. End it with `coherd_guest_end`.
//
// # Safety
// `mapping` is a mapping, `out` valid.
enum coherd_guest_result coherd_guest_begin(const struct coherd_guest_mapping *mapping,
                                            uint32_t access,
                                            size_t offset,
                                            size_t size,
                                            struct coherd_guest_access **out);

// Ends an access and waits until the host has done so; NULL is none. What was written is visible
// to the GPU then, unless this fails.
//
// # Safety
// `access` comes from `coherd_guest_begin` and is not used again.
enum coherd_guest_result coherd_guest_end(struct coherd_guest_access *access);

// Copies bytes on the GPU and waits for it.
//
// # Safety
// `context` is a context; `source` and `destination` are allocations of it.
enum coherd_guest_result coherd_guest_copy(const struct coherd_guest_context *context,
                                           const struct coherd_guest_allocation *source,
                                           uint64_t source_offset,
                                           const struct coherd_guest_allocation *destination,
                                           uint64_t destination_offset,
                                           uint64_t size);

// Fills bytes with a word on the GPU and waits for it. Offset and size are multiples of 4.
//
// # Safety
// `context` is a context, `destination` an allocation of it.
enum coherd_guest_result coherd_guest_fill(const struct coherd_guest_context *context,
                                           const struct coherd_guest_allocation *destination,
                                           uint64_t offset,
                                           uint64_t size,
                                           uint32_t value);

// Waits until the host has executed everything that was sent.
//
// # Safety
// `context` is a context.
enum coherd_guest_result coherd_guest_wait_idle(const struct coherd_guest_context *context);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus
