// What worker_programs.cpp.in holds: the texts of the workers' programs, and where their Python is.
#pragma once

namespace infinipipe {

extern const char* const kCommonWorker;     // the text of worker_common.py, which comes before each
extern const char* const kTokenizerWorker;  // of tokenizer_worker.py
extern const char* const kChatWorker;       // of chat_worker.py
extern const char* const kParquetWorker;    // of parquet_worker.py
extern const char* const kSetUpPython;      // of set-up's own environment; it may be gone
extern const char* const kTokenizersPin;    // "tokenizers==0.23.3"
extern const char* const kJinjaPin;         // "jinja2==3.1.6"
extern const char* const kDuckdbPin;        // "duckdb==2.0.1"

}  // namespace infinipipe
