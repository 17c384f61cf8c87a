/*
 * Bytes through the GPU and back: written by this program, copied by the GPU, read by this program,
 * for every memory type that can be mapped.
 *
 *     cc roundtrip.c -lcoherd_guest && ./a.out [/dev/dri/renderD128]
 */

#include <coherd-guest.h>
#include <stdio.h>
#include <string.h>

enum { SIZE = 65536 };

static int failed(const char *what)
{
    printf("FAILED: %s: %s\n", what, coherd_guest_last_error());
    return 1;
}

/* Begins an access to all of a mapping, copies bytes and ends it. */
static int move(const struct coherd_guest_mapping *mapping, uint32_t kind, unsigned char *bytes)
{
    struct coherd_guest_access *access;

    if (coherd_guest_begin(mapping, kind, 0, SIZE, &access) != COHERD_GUEST_RESULT_OK)
        return failed("begin");
    if (kind == COHERD_GUEST_WRITE)
        memcpy(coherd_guest_mapping_data(mapping), bytes, SIZE);
    else
        memcpy(bytes, coherd_guest_mapping_data(mapping), SIZE);
    if (coherd_guest_end(access) != COHERD_GUEST_RESULT_OK)
        return failed("end");
    return 0;
}

static int roundtrip(const struct coherd_guest_context *context, uint32_t properties)
{
    struct coherd_guest_allocation_request request = { .size = SIZE, .required = properties };
    struct coherd_guest_allocation *from = NULL, *to = NULL;
    struct coherd_guest_mapping *source = NULL, *target = NULL;
    static unsigned char sent[SIZE], got[SIZE];
    int status = 1;

    for (size_t place = 0; place < SIZE; place++)
        sent[place] = (unsigned char)(place * 7 + place / 251 + properties);
    memset(got, 0, SIZE);

    if (coherd_guest_allocate(context, &request, &from) != COHERD_GUEST_RESULT_OK ||
        coherd_guest_allocate(context, &request, &to) != COHERD_GUEST_RESULT_OK)
        failed("allocate");
    else if (coherd_guest_map(from, &source) != COHERD_GUEST_RESULT_OK ||
             coherd_guest_map(to, &target) != COHERD_GUEST_RESULT_OK)
        failed("map");
    else if (move(source, COHERD_GUEST_WRITE, sent) != 0)
        ;
    else if (coherd_guest_copy(context, from, 0, to, 0, SIZE) != COHERD_GUEST_RESULT_OK)
        failed("copy");
    else if (move(target, COHERD_GUEST_READ, got) != 0)
        ;
    else if (memcmp(sent, got, SIZE) != 0)
        printf("FAILED: bytes differ\n");
    else
        status = 0;

    coherd_guest_unmap(source);
    coherd_guest_unmap(target);
    coherd_guest_free(from);
    coherd_guest_free(to);
    return status;
}

int main(int argc, char **argv)
{
    struct coherd_guest_context *context;
    struct coherd_guest_host host;
    struct coherd_guest_memory_type type;
    unsigned done = 0;

    if (coherd_guest_open(argc > 1 ? argv[1] : NULL, &context) != COHERD_GUEST_RESULT_OK)
        return failed("open");
    if (coherd_guest_get_host(context, &host) != COHERD_GUEST_RESULT_OK)
        return failed("host");
    for (uint32_t index = 0; index < host.type_count; index++) {
        if (coherd_guest_get_memory_type(context, index, &type) != COHERD_GUEST_RESULT_OK)
            return failed("type");
        if (type.caching == COHERD_GUEST_NO_CACHING)
            continue;
        if (roundtrip(context, type.properties) != 0)
            return 1;
        done++;
    }
    coherd_guest_close(context);
    printf("ok: %u of %u memory types of %s\n", done, host.type_count, host.name);
    return 0;
}
