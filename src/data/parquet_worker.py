# Reads Parquet files with DuckDB for a parent process. worker_common.py comes before this; the
# program runs both with python -I -c. A file may come from anybody: the database has no disk but
# that one file, no extensions and little memory.
#
# First comes one answer: LENGTH and the library's version, or what is missing. Then, until stdin ends:
#   o LENGTH request  ->  LENGTH number    opens a file, closes the one before; the number of rows
#   n BYTES           ->  LENGTH text      of the next rows, a line of JSON each; empty at the end
# A request is JSON: "path"; "field", the column that holds the text, or "a.b"; "others", columns
# that are wanted where they are there.
import re
import resource

MEMORY = 4 << 30  # bytes of address space, of which the library takes half at most
ROWS = 64         # taken at a time


class Table:
    database = file = None

    def open(self, path, field, others):
        import duckdb
        self.file = os.open(path, os.O_RDONLY)
        self.name = f"/proc/self/fd/{self.file}"  # no pattern, whatever the file's own name is
        self.database = duckdb.connect(":memory:", config={
            "threads": "1", "memory_limit": f"{MEMORY >> 31}GiB", "temp_directory": "",
            "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
        for setting in ("enable_progress_bar = false", f"allowed_paths = ['{self.name}']", "enable_external_access = false",
                        "lock_configuration = true"):
            self.database.execute("SET " + setting)
        source = f"read_parquet('{self.name}', binary_as_string = true)"
        types = {row[0]: row[1]
                 for row in self.database.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
        outer = field if field in types else field.split(".")[0]
        self.columns = [name for name in dict.fromkeys([outer, *others]) if name in types]
        if not self.columns:
            raise ValueError(f"has no column {outer!r}, but " + ", ".join(map(repr, types)))
        if outer == field and types.get(outer, "VARCHAR") != "VARCHAR" and types[outer][-2:] != "[]":
            raise ValueError(f"column {outer!r} holds {types[outer]}, and not text")
        self.rows, = self.database.execute(
            f"SELECT num_rows FROM parquet_file_metadata('{self.name}')").fetchone()
        names = ", ".join('"' + name.replace('"', '""') + '"' for name in self.columns)
        self.result = self.database.execute(f"SELECT {names} FROM {source}")

    def next_lines(self, size):
        lines, length = [], 0
        while length < size and (rows := self.result.fetchmany(ROWS)):
            for row in rows:
                lines.append(json.dumps(dict(zip(self.columns, row)), ensure_ascii=False,
                                        default=str))
                length += len(lines[-1])
        return "".join(line + "\n" for line in lines).encode("utf-8")

    def close(self):
        if self.database:
            self.database.close()
        if self.file is not None:
            os.close(self.file)


def main():
    try:
        import duckdb
    except ImportError:
        return complain("no module duckdb")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answer(len(duckdb.__version__), duckdb.__version__.encode())
    table = None
    path = ""
    for operation, count in requests():
        try:
            if operation == b"o":
                request = json.loads(read_exactly(count))
                if table:
                    table.close()
                table = Table()
                path = request["path"]
                table.open(path, request["field"], request["others"])
                text = str(table.rows).encode()
            else:
                text = table.next_lines(count)
            answer(len(text), text)
        except SystemExit:
            raise
        except MemoryError:
            complain(f"needs more than {MEMORY >> 30} GiB of memory")
        except BaseException as error:
            what = (str(error).splitlines() or ["?"])[0]
            complain(re.sub(r"/proc/self/fd/\d+", lambda _: os.path.basename(path), what))


main()
