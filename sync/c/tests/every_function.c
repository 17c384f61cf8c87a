/*
 * Calls every function of the library, right and wrong, against a server with one blob of three
 * pages whose GPU hangs, and a second one that appears while the program watches.
 *
 *     every_function SOCKET
 */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coherd-sync.h"

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, coherd_sync_last_error()); \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

#define OK(call) CHECK((call) == COHERD_SYNC_RESULT_OK)
#define FAILS(result, call) CHECK((call) == COHERD_SYNC_RESULT_##result)

static void nulls(void)
{
    FAILS(ARGUMENT, coherd_sync_connect(NULL, NULL, NULL));
    CHECK(strstr(coherd_sync_last_error(), "path"));
    FAILS(ARGUMENT, coherd_sync_connect_fd(-1, NULL, NULL));
    FAILS(ARGUMENT, coherd_sync_list(NULL, 0, NULL, 0, NULL));
    FAILS(ARGUMENT, coherd_sync_open(NULL, 1, 1, NULL));
    FAILS(ARGUMENT, coherd_sync_get_info(NULL, NULL));
    FAILS(ARGUMENT, coherd_sync_map(NULL, NULL));
    FAILS(ARGUMENT, coherd_sync_export_fence(NULL, 1, NULL));
    FAILS(ARGUMENT, coherd_sync_import_fence(NULL, 1, -1));
    FAILS(ARGUMENT, coherd_sync_begin(NULL, 1, 0, 0, 0, NULL));
    FAILS(ARGUMENT, coherd_sync_describe(NULL, 1, NULL, NULL, 0, NULL));
    FAILS(ARGUMENT, coherd_sync_begin_watch(NULL, NULL));
    FAILS(ARGUMENT, coherd_sync_next_event(NULL, 0, NULL));
    OK(coherd_sync_end(NULL));
    CHECK(coherd_sync_bytes(NULL) == NULL && coherd_sync_size(NULL) == 0);
    CHECK(coherd_sync_socket(NULL) == -1 && coherd_sync_file(NULL) == -1);
    CHECK(coherd_sync_capabilities(NULL) == 0 && coherd_sync_instance(NULL) == 0);
    coherd_sync_close(NULL);
    coherd_sync_unmap(NULL);
    coherd_sync_unwatch(NULL);
    coherd_sync_disconnect(NULL);
}

static void outputs_that_are_null(const struct coherd_sync_connection *connection, uint64_t id)
{
    struct coherd_sync_entry entry;
    FAILS(ARGUMENT, coherd_sync_list(connection, 0, &entry, 1, NULL));
    FAILS(ARGUMENT, coherd_sync_open(connection, id, COHERD_SYNC_READ, NULL));
    FAILS(ARGUMENT, coherd_sync_describe(connection, id, NULL, NULL, 0, NULL));
}

static void watch(const struct coherd_sync_connection *connection)
{
    struct coherd_sync_watch *watch, *second;
    struct coherd_sync_event event;
    OK(coherd_sync_begin_watch(connection, &watch));
    FAILS(WATCHED, coherd_sync_begin_watch(connection, &second));
    struct pollfd fd = { .fd = coherd_sync_socket(connection), .events = POLLIN };
    CHECK(poll(&fd, 1, 20000) == 1);
    OK(coherd_sync_next_event(watch, 0, &event));
    CHECK(event.kind == COHERD_SYNC_EVENT_CREATED && event.entry.size == 4096);
    OK(coherd_sync_next_event(watch, 0, &event));
    CHECK(event.kind == COHERD_SYNC_EVENT_NONE);
    coherd_sync_unwatch(watch);
}

static void brackets(const struct coherd_sync_blob *blob, const struct coherd_sync_mapping *hung)
{
    struct coherd_sync_mapping *mapping;
    struct coherd_sync_bracket *bracket, *whole;
    FAILS(TIMED_OUT, coherd_sync_begin(hung, COHERD_SYNC_READ, 0, 0, 20, &bracket));
    OK(coherd_sync_map(blob, &mapping));
    FAILS(OUT_OF_RANGE, coherd_sync_begin(mapping, COHERD_SYNC_READ, 4097, 0, 0, &bracket));
    FAILS(OUT_OF_RANGE, coherd_sync_begin(mapping, COHERD_SYNC_READ, 4096, 1, 0, &bracket));
    FAILS(OUT_OF_RANGE, coherd_sync_begin(mapping, COHERD_SYNC_READ, UINT64_MAX, 2, 0, &bracket));
    FAILS(INVALID, coherd_sync_begin(mapping, 8, 0, 0, 0, &bracket));
    OK(coherd_sync_begin(mapping, COHERD_SYNC_READ | COHERD_SYNC_WRITE, 100, 50, 0, &bracket));
    OK(coherd_sync_begin(mapping, COHERD_SYNC_READ, 0, 0, 1000, &whole));
    CHECK(coherd_sync_bytes(whole) && coherd_sync_size(whole) == 4096);
    CHECK(coherd_sync_size(bracket) == 50);
    /* The mapping stays until its last bracket ends. */
    coherd_sync_unmap(mapping);
    memset(coherd_sync_bytes(bracket), 0x5b, coherd_sync_size(bracket));
    OK(coherd_sync_end(whole));
    OK(coherd_sync_end(bracket));
}

static void describe(const struct coherd_sync_connection *connection, uint64_t id)
{
    struct coherd_sync_holder holders[2];
    uint32_t agreement;
    size_t count;
    OK(coherd_sync_describe(connection, id, &agreement, NULL, 0, &count));
    CHECK(agreement == COHERD_SYNC_DIFFER && count == 2);
    OK(coherd_sync_describe(connection, id, &agreement, holders, 2, &count));
    CHECK(holders[0].kind == 1 && holders[0].caching == COHERD_SYNC_WRITE_COMBINING);
    CHECK(holders[1].flags & COHERD_SYNC_HOLDER_SELF && !strcmp(holders[1].name, "every"));
}

int main(int argc, char **argv)
{
    struct coherd_sync_options options = { .name = "every", .answer_within_ms = 10000 };
    struct coherd_sync_connection *connection;
    struct coherd_sync_entry entries[3];
    struct coherd_sync_blob *hung, *blob, *again;
    struct coherd_sync_mapping *mapping;
    struct coherd_sync_bracket *bracket;
    struct coherd_sync_info info;
    size_t count;
    int fence;

    CHECK(argc == 2);
    nulls();
    FAILS(CONNECT, coherd_sync_connect("/nonexistent/sync", NULL, &connection));
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    FAILS(PROTOCOL, coherd_sync_connect_fd(pipes[0], NULL, &connection));
    close(pipes[1]);

    options.capabilities = UINT64_MAX;
    OK(coherd_sync_connect(argv[1], &options, &connection));
    CHECK(coherd_sync_capabilities(connection) & COHERD_SYNC_CAN_WRITE);
    CHECK(coherd_sync_instance(connection) == 77);
    watch(connection);
    OK(coherd_sync_list(connection, 0, entries, 3, &count));
    CHECK(count == 2 && entries[0].size == 3 * 4096);
    outputs_that_are_null(connection, entries[0].blob);

    FAILS(UNKNOWN_BLOB, coherd_sync_open(connection, 99, COHERD_SYNC_READ, &blob));
    OK(coherd_sync_open(connection, entries[0].blob, COHERD_SYNC_READ, &hung));
    FAILS(IN_USE, coherd_sync_open(connection, entries[0].blob, COHERD_SYNC_READ, &again));
    OK(coherd_sync_open(connection, entries[1].blob, COHERD_SYNC_READ | COHERD_SYNC_WRITE, &blob));
    OK(coherd_sync_get_info(blob, &info));
    CHECK(info.size == 4096 && info.told == COHERD_SYNC_WRITE_COMBINING);
    CHECK(info.file_caching == COHERD_SYNC_CACHED && info.effective == COHERD_SYNC_CACHING_UNKNOWN);
    CHECK(!strcmp(info.exporter, "memfd") && info.plane_count == 0);
    CHECK(coherd_sync_file(blob) >= 0);
    OK(coherd_sync_export_fence(blob, COHERD_SYNC_READ, &fence));
    OK(coherd_sync_import_fence(blob, COHERD_SYNC_WRITE, fence));
    close(fence);
    OK(coherd_sync_map(hung, &mapping));
    FAILS(READ_ONLY, coherd_sync_begin(mapping, COHERD_SYNC_WRITE, 0, 0, 0, &bracket));
    FAILS(ARGUMENT, coherd_sync_begin(mapping, COHERD_SYNC_READ, 0, 0, 0, NULL));
    brackets(blob, mapping);
    describe(connection, info.blob);

    /* In any order: what needs another one keeps it. */
    coherd_sync_disconnect(connection);
    coherd_sync_close(hung);
    coherd_sync_close(blob);
    coherd_sync_unmap(mapping);
    return 0;
}
