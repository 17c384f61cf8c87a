/*
 * How a VMM saves the graphics memory of a VM that it has stopped, and loads it in another one.
 *
 *     migrate save|load SOCKET FILE
 *
 * The file has a record for each blob: its resource and its size, then its bytes. Ids of blobs mean
 * nothing to another server, while resources are those of the guest. As migrate.rs, but for
 * machines that are little endian.
 */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "coherd-sync.h"

enum { MAX_BLOBS = 4096, TIMEOUT_MS = 5000 };

struct record {
    uint64_t resource_id, size;
};

static bool ok(enum coherd_sync_result result, const char *what)
{
    if (result != COHERD_SYNC_RESULT_OK)
        fprintf(stderr, "migrate: %s: %s\n", what, coherd_sync_last_error());
    return result == COHERD_SYNC_RESULT_OK;
}

static bool complete(size_t count, const char *what)
{
    if (count != 1)
        fprintf(stderr, "migrate: cannot %s the file\n", what);
    return count == 1;
}

/* Copies between a blob and the file, inside a bracket. */
static bool copy(const struct coherd_sync_mapping *mapping, uint32_t access, FILE *file)
{
    struct coherd_sync_bracket *bracket;
    if (!ok(coherd_sync_begin(mapping, access, 0, 0, TIMEOUT_MS, &bracket), "begin"))
        return false;
    void *bytes = coherd_sync_bytes(bracket);
    size_t size = coherd_sync_size(bracket);
    bool copied = access == COHERD_SYNC_READ ? complete(fwrite(bytes, size, 1, file), "write")
                                             : complete(fread(bytes, size, 1, file), "read");
    return ok(coherd_sync_end(bracket), "end") && copied;
}

static bool transfer(const struct coherd_sync_connection *connection, uint64_t id, uint32_t access,
                     FILE *file)
{
    struct coherd_sync_blob *blob;
    if (!ok(coherd_sync_open(connection, id, access, &blob), "open"))
        return false;
    struct coherd_sync_mapping *mapping;
    bool mapped = ok(coherd_sync_map(blob, &mapping), "map");
    bool copied = mapped && copy(mapping, access, file);
    if (mapped)
        coherd_sync_unmap(mapping);
    coherd_sync_close(blob);
    return copied;
}

static bool save(const struct coherd_sync_connection *connection,
                 const struct coherd_sync_entry *entries, size_t count, FILE *file)
{
    for (size_t i = 0; i < count; i++) {
        if (!(entries[i].flags & COHERD_SYNC_ENTRY_OPENABLE))
            continue;
        struct record record = { entries[i].resource_id, entries[i].size };
        if (!complete(fwrite(&record, sizeof record, 1, file), "write") ||
            !transfer(connection, entries[i].blob, COHERD_SYNC_READ, file))
            return false;
    }
    return true;
}

static bool load(const struct coherd_sync_connection *connection,
                 const struct coherd_sync_entry *entries, size_t count, FILE *file)
{
    struct record record;
    while (fread(&record, sizeof record, 1, file) == 1) {
        size_t i = 0;
        while (i < count && (entries[i].resource_id != record.resource_id ||
                             entries[i].size != record.size))
            i++;
        if (i == count) {
            fprintf(stderr, "migrate: no such resource here\n");
            return false;
        }
        if (!transfer(connection, entries[i].blob, COHERD_SYNC_WRITE, file))
            return false;
    }
    return feof(file);
}

static bool list(const struct coherd_sync_connection *connection,
                 struct coherd_sync_entry entries[MAX_BLOBS], size_t *count)
{
    size_t more = 0;
    *count = 0;
    do {
        uint64_t after = *count ? entries[*count - 1].blob : 0;
        if (!ok(coherd_sync_list(connection, after, entries + *count, MAX_BLOBS - *count, &more),
                "list"))
            return false;
        *count += more;
    } while (more && *count < MAX_BLOBS);
    return true;
}

int main(int argc, char **argv)
{
    bool saving = argc == 4 && !strcmp(argv[1], "save");
    if (!saving && (argc != 4 || strcmp(argv[1], "load"))) {
        fprintf(stderr, "usage: migrate save|load SOCKET FILE\n");
        return 2;
    }
    FILE *file = fopen(argv[3], saving ? "wb" : "rb");
    if (!file) {
        perror(argv[3]);
        return 1;
    }
    struct coherd_sync_options options = { .name = "migrate" };
    if (!saving)
        options.capabilities = COHERD_SYNC_CAN_WRITE;
    struct coherd_sync_connection *connection;
    bool done = ok(coherd_sync_connect(argv[2], &options, &connection), "connect");
    if (done) {
        static struct coherd_sync_entry entries[MAX_BLOBS];
        size_t count;
        done = list(connection, entries, &count) &&
               (saving ? save : load)(connection, entries, count, file);
        coherd_sync_disconnect(connection);
    }
    return fclose(file) == 0 && done ? 0 : 1;
}
