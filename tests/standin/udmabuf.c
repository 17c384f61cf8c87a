/*
 * A stand-in for /dev/udmabuf, for hosts that lack it.
 *
 *   gcc -shared -fPIC -O2 -Wall -Wextra -Werror -o udmabuf-standin.so udmabuf.c
 *   LD_PRELOAD=/path/udmabuf-standin.so program
 *
 * Opening /dev/udmabuf succeeds, and UDMABUF_CREATE answers with a duplicate of the memfd instead
 * of a dma-buf. That is enough for a CPU driver to export and import memory: the "dma-buf" maps at
 * offset 0 and aliases the memory. It is not a dma-buf: the DMA_BUF ioctls fail with ENOTTY.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char DEVICE[] = "/dev/udmabuf";

/*
 * What tells our descriptors from others. Numbers are reused after a close, and descriptors outlive
 * this library's variables over exec, so the mark is in the file itself.
 */
static const char MARK[] = "coherd stand-in for /dev/udmabuf\n";
static const int MARK_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

static int is_device(const char *path)
{
	return path && strcmp(path, DEVICE) == 0;
}

static int is_ours(int fd)
{
	char mark[sizeof(MARK)];
	struct stat status;

	if (fstat(fd, &status) || status.st_size != sizeof(MARK))
		return 0;
	if (fcntl(fd, F_GET_SEALS) != MARK_SEALS)
		return 0;
	return pread(fd, mark, sizeof(mark), 0) == sizeof(mark) &&
	       memcmp(mark, MARK, sizeof(mark)) == 0;
}

static int open_device(int flags)
{
	unsigned int cloexec = flags & O_CLOEXEC ? MFD_CLOEXEC : 0;
	int fd = memfd_create("udmabuf-standin", MFD_ALLOW_SEALING | cloexec);

	if (fd < 0)
		return -1;
	if (write(fd, MARK, sizeof(MARK)) != sizeof(MARK) ||
	    fcntl(fd, F_ADD_SEALS, MARK_SEALS)) {
		close(fd);
		errno = ENODEV;
		return -1;
	}
	return fd;
}

/* The checks are the kernel's, in its order, and then our own. */
static int create(const struct udmabuf_create *request)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stat status;
	int seals;

	if (request->offset % page || request->size % page || !request->size) {
		errno = EINVAL;
		return -1;
	}
	seals = fcntl((int)request->memfd, F_GET_SEALS);
	if (seals < 0) {
		errno = EBADFD;
		return -1;
	}
	if (!(seals & F_SEAL_SHRINK) || seals & F_SEAL_WRITE) {
		errno = EINVAL;
		return -1;
	}
	if (fstat((int)request->memfd, &status))
		return -1;
	/* A duplicate begins where the memfd begins. */
	if (request->offset || request->size > (uint64_t)status.st_size) {
		errno = EINVAL;
		return -1;
	}
	return fcntl((int)request->memfd,
		     request->flags & UDMABUF_FLAGS_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
}

int ioctl(int fd, unsigned long request, ...)
{
	static int (*next)(int, unsigned long, ...);
	va_list arguments;
	void *argument;

	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);

	if (request == UDMABUF_CREATE && is_ours(fd)) {
		if (!argument) {
			errno = EFAULT;
			return -1;
		}
		return create(argument);
	}
	if (!next)
		next = dlsym(RTLD_NEXT, "ioctl");
	return next(fd, request, argument);
}

static mode_t mode_argument(int flags, va_list arguments)
{
	if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE)
		return va_arg(arguments, mode_t);
	return 0;
}

#define OPEN(name)                                                             \
	int name(const char *path, int flags, ...)                             \
	{                                                                      \
		static int (*next)(const char *, int, ...);                    \
		va_list arguments;                                             \
		mode_t mode;                                                   \
                                                                               \
		va_start(arguments, flags);                                    \
		mode = mode_argument(flags, arguments);                        \
		va_end(arguments);                                             \
		if (is_device(path))                                           \
			return open_device(flags);                             \
		if (!next)                                                     \
			next = dlsym(RTLD_NEXT, #name);                        \
		return next(path, flags, mode);                                \
	}

#define OPENAT(name)                                                           \
	int name(int folder, const char *path, int flags, ...)                 \
	{                                                                      \
		static int (*next)(int, const char *, int, ...);               \
		va_list arguments;                                             \
		mode_t mode;                                                   \
                                                                               \
		va_start(arguments, flags);                                    \
		mode = mode_argument(flags, arguments);                        \
		va_end(arguments);                                             \
		if (is_device(path))                                           \
			return open_device(flags);                             \
		if (!next)                                                     \
			next = dlsym(RTLD_NEXT, #name);                        \
		return next(folder, path, flags, mode);                        \
	}

/* What the C library's headers turn open into in programs built with _FORTIFY_SOURCE. */
#define OPEN_2(name)                                                           \
	int name(const char *path, int flags);                                 \
	int name(const char *path, int flags)                                  \
	{                                                                      \
		static int (*next)(const char *, int);                         \
                                                                               \
		if (is_device(path))                                           \
			return open_device(flags);                             \
		if (!next)                                                     \
			next = dlsym(RTLD_NEXT, #name);                        \
		return next(path, flags);                                      \
	}

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
OPEN_2(__open_2)
OPEN_2(__open64_2)
