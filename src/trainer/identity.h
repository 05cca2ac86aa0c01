// What data and tokenizer a checkpoint is of, so that others are not taken for them.
#pragma once

#include <functional>
#include <string>

#include "data/corpus.h"
#include "infinipipe/base/json.h"
#include "infinipipe/data/indexed_dataset.h"

namespace infinipipe {

// "path", "documents", "tokens" and a "fingerprint": a hash over the whole index and over samples
// of the tokens and of the weights, where there are any, some hundred kilobytes spread evenly, so
// that it is as quick for a large data set.
Json data_identity(const IndexedDataset& dataset);
// Of a run's data: that of its set, or "sets" with one for each of several, in order.
Json data_identity(const Corpus& corpus);

// "name", and a "fingerprint" where the name is a file's.
Json tokenizer_identity(const std::string& name);

// Warns, once each, where the checkpoint in `folder` names another data set or another tokenizer.
// Throws InputError where it has the same sets in another order. Older checkpoints name none
// (null).
void compare_identity(const Json& data, const Json& tokenizer, const Json& saved_data,
                      const Json& saved_tokenizer, const std::string& folder,
                      const std::function<void(const std::string&)>& warn);

}  // namespace infinipipe
