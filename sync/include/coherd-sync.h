/*
 * A VM's graphics memory for VMMs and other processes of the host: a client of coherd's sync
 * protocol. Link with -lcoherd_sync.
 *
 * A process connects, lists blobs, opens and maps one, and accesses its bytes between
 * coherd_sync_begin and coherd_sync_end only. coherd waits for the GPU, flushes and invalidates
 * meanwhile; this library needs no GPU driver and starts no thread.
 *
 * Any thread may call any function, but a handle must not be freed while another thread uses it.
 * Handles may be freed in any order: what needs another one keeps it. A function that returns a
 * result sets what its last argument points to only if that is COHERD_SYNC_RESULT_OK.
 */

#pragma once

#include <stddef.h>
#include <stdint.h>

// Bytes of a name, its nuls included.
#define COHERD_SYNC_NAME_LEN 32

// To open and bracket blobs to write them.
#define COHERD_SYNC_CAN_WRITE 1

// To be told of blobs that come and go.
#define COHERD_SYNC_CAN_WATCH 2

// To be told who maps a blob.
#define COHERD_SYNC_CAN_DESCRIBE 4

// To get sync files of the GPU's work.
#define COHERD_SYNC_CAN_EXPORT_FENCE 8

// To make the GPU wait for sync files.
#define COHERD_SYNC_CAN_IMPORT_FENCE 16

// `coherd_sync_open` works.
#define COHERD_SYNC_ENTRY_OPENABLE 1

// It works with COHERD_SYNC_WRITE, on this connection.
#define COHERD_SYNC_ENTRY_WRITABLE 2

// The blob is an image.
#define COHERD_SYNC_ENTRY_IMAGE 4

// The guest has it mapped.
#define COHERD_SYNC_ENTRY_MAPPED 8

// An mmap of its file needs brackets.
#define COHERD_SYNC_ENTRY_NEEDS_BRACKETS 16

// To read.
#define COHERD_SYNC_READ 1

// To write.
#define COHERD_SYNC_WRITE 2

// Nothing is known, or there is no mapping.
#define COHERD_SYNC_CACHING_UNKNOWN 0

// Cached, write-back.
#define COHERD_SYNC_CACHED 1

// Not cached.
#define COHERD_SYNC_UNCACHED 2

// Write-combining.
#define COHERD_SYNC_WRITE_COMBINING 3

// An mmap of the file works.
#define COHERD_SYNC_OPEN_MMAP 1

// Accesses through one need brackets, for whatever reason.
#define COHERD_SYNC_OPEN_NEEDS_BRACKETS 2

// The blob is an image, and what is said of one is valid.
#define COHERD_SYNC_OPEN_IMAGE 4

// Fences work.
#define COHERD_SYNC_OPEN_FENCES 8

// None is known to differ, but one is not known.
#define COHERD_SYNC_AGREEMENT_UNKNOWN 0

// All map the blob with the type of its memory.
#define COHERD_SYNC_AGREE 1

// Somebody maps it with another.
#define COHERD_SYNC_DIFFER 2

// The holder is this connection.
#define COHERD_SYNC_HOLDER_SELF 1

// Its accesses need brackets.
#define COHERD_SYNC_HOLDER_NEEDS_BRACKETS 2

// Nothing happened.
#define COHERD_SYNC_EVENT_NONE 0

// A blob was created.
#define COHERD_SYNC_EVENT_CREATED 1

// A blob was destroyed; its id alone is valid.
#define COHERD_SYNC_EVENT_DESTROYED 2

// This process was too slow, and events are missing here: list again.
#define COHERD_SYNC_EVENT_LOST 3

// How a call ended. Those below 0x100 are what the server answered, and have the numbers of the
// protocol.
enum coherd_sync_result {
  // It worked.
  COHERD_SYNC_RESULT_OK = 0,
  // The server took the request for malformed.
  COHERD_SYNC_RESULT_INVALID = 1,
  // The server does not know the request.
  COHERD_SYNC_RESULT_UNKNOWN_REQUEST = 2,
  // Server and library have no version of the protocol in common.
  COHERD_SYNC_RESULT_VERSION = 3,
  // This process may not do this.
  COHERD_SYNC_RESULT_DENIED = 4,
  // The server, or this blob's memory, cannot do this.
  COHERD_SYNC_RESULT_UNSUPPORTED = 5,
  // No blob has this id, nor had one.
  COHERD_SYNC_RESULT_UNKNOWN_BLOB = 6,
  // The blob was destroyed.
  COHERD_SYNC_RESULT_GONE = 7,
  // It is not open on this connection.
  COHERD_SYNC_RESULT_NOT_OPEN = 8,
  // It is open on this connection already.
  COHERD_SYNC_RESULT_IN_USE = 9,
  // The GPU did not finish in time. Nothing was begun; it can be tried again.
  COHERD_SYNC_RESULT_TIMED_OUT = 10,
  // It was cancelled.
  COHERD_SYNC_RESULT_CANCELLED = 11,
  // A limit of the server or of this connection is reached.
  COHERD_SYNC_RESULT_OVER_LIMIT = 12,
  // The host is out of memory or of files.
  COHERD_SYNC_RESULT_OUT_OF_MEMORY = 13,
  // The GPU was lost.
  COHERD_SYNC_RESULT_DEVICE_LOST = 14,
  // The host's policy about memory types that do not agree forbids it.
  COHERD_SYNC_RESULT_REFUSED = 15,
  // It failed and the server's log says why.
  COHERD_SYNC_RESULT_FAILED = 16,
  // Nobody listens at the path, or this process may not connect.
  COHERD_SYNC_RESULT_CONNECT = 256,
  // The connection is of no further use.
  COHERD_SYNC_RESULT_DISCONNECTED = 257,
  // The server did not answer in time.
  COHERD_SYNC_RESULT_NO_ANSWER = 258,
  // What is at the other end does not speak the protocol as it should.
  COHERD_SYNC_RESULT_PROTOCOL = 259,
  // The blob cannot be mapped, or its file is one that must not be.
  COHERD_SYNC_RESULT_NOT_MAPPABLE = 260,
  // The blob was not opened to be written.
  COHERD_SYNC_RESULT_READ_ONLY = 261,
  // The bytes are outside the blob.
  COHERD_SYNC_RESULT_OUT_OF_RANGE = 262,
  // The connection is watched already.
  COHERD_SYNC_RESULT_WATCHED = 263,
  // An argument is null, or a string is not UTF-8.
  COHERD_SYNC_RESULT_ARGUMENT = 264,
  // The library failed.
  COHERD_SYNC_RESULT_INTERNAL = 265,
};

// A blob that is open.
struct coherd_sync_blob;

// A bracket that is open.
struct coherd_sync_bracket;

// A connection to a server. Any thread may use it, several at a time.
struct coherd_sync_connection;

// A blob that is mapped.
struct coherd_sync_mapping;

// Events of a connection.
struct coherd_sync_watch;

// How to connect. Zeroes are the defaults.
struct coherd_sync_options {
  // What the process is called in ledgers and in the server's log; null for `coherd-sync`.
  const char *name;
  // COHERD_SYNC_CAN_*: what it wants to do beyond reading; 0 for everything but writing.
  uint64_t capabilities;
  // Milliseconds that the server may take for an answer, the GPU's time not counted; 0 for
  // 5000.
  uint32_t answer_within_ms;
};

// A blob in a list.
struct coherd_sync_entry {
  // Its id, never used again in the server's life.
  uint64_t blob;
  // Its bytes.
  uint64_t size;
  // The guest's resource.
  uint32_t resource_id;
  // How many resources with this id were before.
  uint32_t generation;
  // The context that it was made in, or 0.
  uint32_t context_id;
  // COHERD_SYNC_ENTRY_*
  uint32_t flags;
};

// A plane of an image, in bytes.
struct coherd_sync_plane {
  // Where it begins in the blob.
  uint64_t offset;
  // From one row to the next.
  uint64_t pitch;
  // Its size.
  uint64_t size;
};

// What an open blob is.
struct coherd_sync_info {
  // Its id.
  uint64_t blob;
  // Its bytes.
  uint64_t size;
  // Where it begins in its file.
  uint64_t data_offset;
  // Offsets of an mmap are multiples of this.
  uint64_t page_size;
  // COHERD_SYNC_READ, COHERD_SYNC_WRITE: what may be done.
  uint32_t access;
  // What the file allows, which can be more.
  uint32_t fd_access;
  // COHERD_SYNC_OPEN_*
  uint32_t flags;
  // What the guest was told: COHERD_SYNC_CACHED and its kin.
  uint32_t told;
  // What an mmap of the file gives.
  uint32_t file_caching;
  // What the guest's mapping really is under this host's hypervisor.
  uint32_t effective;
  // Bits of VkMemoryPropertyFlagBits, or 0 where the renderer does not say.
  uint32_t properties;
  // What the file is: 1 a dma-buf, 2 a memfd, 3 a memfd behind a private header, 0 not known.
  uint32_t backing;
  // The guest's resource.
  uint32_t resource_id;
  // How many resources with this id were before.
  uint32_t generation;
  // The context that it was made in, or 0.
  uint32_t context_id;
  // Of an image: its DRM format.
  uint32_t fourcc;
  // Pixels.
  uint32_t width;
  // Pixels.
  uint32_t height;
  // Its DRM format modifier.
  uint64_t modifier;
  // How many planes it has.
  uint32_t plane_count;
  // Its planes.
  struct coherd_sync_plane planes[4];
  // Who exported the file.
  char exporter[COHERD_SYNC_NAME_LEN];
};

// Somebody who maps a blob.
struct coherd_sync_holder {
  // Its id.
  uint64_t id;
  // Who it is: 1 the guest, 2 the VMM, 3 the server, 4 a process with a connection.
  uint32_t kind;
  // With which type it maps: COHERD_SYNC_CACHED and its kin.
  uint32_t caching;
  // COHERD_SYNC_READ, COHERD_SYNC_WRITE: what it may do.
  uint32_t access;
  // COHERD_SYNC_HOLDER_*
  uint32_t flags;
  // Brackets that it has open.
  uint32_t open;
  // Its process, or 0 where that is not known.
  uint32_t pid;
  // What it calls itself.
  char name[COHERD_SYNC_NAME_LEN];
};

// What happened.
struct coherd_sync_event {
  // COHERD_SYNC_EVENT_*
  uint32_t kind;
  // The blob.
  struct coherd_sync_entry entry;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// What went wrong in the last call of this thread that failed, in one line. Valid until the next
// one that fails.
const char *coherd_sync_last_error(void);

// Connects to the server that listens at `path`. `options` may be null. What `connection` is set
// to is freed by `coherd_sync_disconnect`.
enum coherd_sync_result coherd_sync_connect(const char *path,
                                            const struct coherd_sync_options *options,
                                            struct coherd_sync_connection **connection);

// As `coherd_sync_connect`, with a socket that is connected already. `fd` is the library's from
// now on, and closed if this fails.
enum coherd_sync_result coherd_sync_connect_fd(int fd,
                                               const struct coherd_sync_options *options,
                                               struct coherd_sync_connection **connection);

// Frees a connection, which may be null. It ends when everything that was made with it is freed
// too.
void coherd_sync_disconnect(struct coherd_sync_connection *connection);

// The connection's socket, to be polled for events. Nobody else may read it. -1 for null.
int coherd_sync_socket(const struct coherd_sync_connection *connection);

// COHERD_SYNC_CAN_*: what this connection may do, which can be less than was asked for.
uint64_t coherd_sync_capabilities(const struct coherd_sync_connection *connection);

// A random number of the server's life. Ids of blobs mean nothing to another one.
uint64_t coherd_sync_instance(const struct coherd_sync_connection *connection);

// Blobs with ids over `after`, in the order of their ids. At most `capacity` are written to
// `entries`, which may be fewer than there are; `count` says how many. Begin with 0 and go on
// after the last one; 0 of them is the end.
enum coherd_sync_result coherd_sync_list(const struct coherd_sync_connection *connection,
                                         uint64_t after,
                                         struct coherd_sync_entry *entries,
                                         size_t capacity,
                                         size_t *count);

// Opens a blob. A connection has a blob open once. What `blob` is set to is freed by
// `coherd_sync_close`.
enum coherd_sync_result coherd_sync_open(const struct coherd_sync_connection *connection,
                                         uint64_t id,
                                         uint32_t access,
                                         struct coherd_sync_blob **blob);

// Frees a blob, which may be null. It is closed when its mappings are freed too.
void coherd_sync_close(struct coherd_sync_blob *blob);

// What the blob is.
enum coherd_sync_result coherd_sync_get_info(const struct coherd_sync_blob *blob,
                                             struct coherd_sync_info *info);

// The blob's file, which stays the library's. -1 for null.
int coherd_sync_file(const struct coherd_sync_blob *blob);

// Maps the blob, as it was opened. What `mapping` is set to is freed by `coherd_sync_unmap`.
enum coherd_sync_result coherd_sync_map(const struct coherd_sync_blob *blob,
                                        struct coherd_sync_mapping **mapping);

// Frees a mapping, which may be null. It is unmapped when its brackets have ended too.
void coherd_sync_unmap(struct coherd_sync_mapping *mapping);

// Sets `fence` to a sync file that signals when the GPU has finished what has to be waited for
// before `access`. It is the caller's to close. A bracket is needed as well.
enum coherd_sync_result coherd_sync_export_fence(const struct coherd_sync_blob *blob,
                                                 uint32_t access,
                                                 int *fence);

// Makes later work of the GPU on the blob wait for a sync file, whose work does `access`. The
// file stays the caller's.
enum coherd_sync_result coherd_sync_import_fence(const struct coherd_sync_blob *blob,
                                                 uint32_t access,
                                                 int fence);

// Begins an access to `size` bytes at `offset` of the blob; a `size` of 0 is the rest of it. Waits
// for the GPU at most `timeout_ms` milliseconds, or as long as the server usually does if that is
// 0. What `bracket` is set to has to be ended by `coherd_sync_end`.
//
// With COHERD_SYNC_WRITE alone every byte has to be written: those that are not may have any
// value afterwards.
enum coherd_sync_result coherd_sync_begin(const struct coherd_sync_mapping *mapping,
                                          uint32_t access,
                                          uint64_t offset,
                                          uint64_t size,
                                          uint32_t timeout_ms,
                                          struct coherd_sync_bracket **bracket);

// Where the bracket's bytes are mapped, valid until its end. They may be accessed only as the
// bracket says, and the other side can change them at any time: copy first, then look at the copy.
// Null for null.
void *coherd_sync_bytes(const struct coherd_sync_bracket *bracket);

// How many bytes the bracket has. 0 for null.
size_t coherd_sync_size(const struct coherd_sync_bracket *bracket);

// Ends the bracket and frees it; it may be null. Afterwards what was written is where it belongs,
// unless the result says that it may not be. The bracket is not open any more in either case.
enum coherd_sync_result coherd_sync_end(struct coherd_sync_bracket *bracket);

// Who maps a blob, and whether they agree (COHERD_SYNC_AGREE and its kin). At most `capacity` are
// written to `holders`, which may be null if that is 0; `count` says how many there are.
enum coherd_sync_result coherd_sync_describe(const struct coherd_sync_connection *connection,
                                             uint64_t blob,
                                             uint32_t *agreement,
                                             struct coherd_sync_holder *holders,
                                             size_t capacity,
                                             size_t *count);

// Begins to watch. A connection has one watch at a time. What `watch` is set to is freed by
// `coherd_sync_unwatch`.
enum coherd_sync_result coherd_sync_begin_watch(const struct coherd_sync_connection *connection,
                                                struct coherd_sync_watch **watch);

// Sets `event` to the next one, of kind COHERD_SYNC_EVENT_NONE if there is none within `timeout_ms`
// milliseconds. With 0 it does not wait: for loops that poll `coherd_sync_socket`, and ask until
// there is none.
enum coherd_sync_result coherd_sync_next_event(const struct coherd_sync_watch *watch,
                                               uint32_t timeout_ms,
                                               struct coherd_sync_event *event);

// Ends the watch, which may be null.
void coherd_sync_unwatch(struct coherd_sync_watch *watch);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus
