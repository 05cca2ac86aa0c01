// A folder of texts and what a build makes of it.
#pragma once

#include <string>
#include <vector>

#include "base/random.h"
#include "data/build.h"
#include "data/tokenizer.h"
#include "test_support.h"

namespace infinipipe {

class BuildTest : public FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    make_folder(in("text"));
    options_.inputs = {in("text")};
    options_.output = in("out/data");
    options_.threads = 2;
  }

  // Documents of what was built, as text; each must end in the end of document.
  std::vector<std::string> built() const {
    const auto tokenizer = make_tokenizer(options_.tokenizer);
    const IndexedDataset data(options_.output);
    std::vector<std::string> texts;
    for (std::int64_t i = 0; i < data.documents(); ++i) {
      const auto ids = data.read(i);
      EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer->end_of_document()), 1);
      EXPECT_EQ(ids.back(), tokenizer->end_of_document());
      texts.push_back(tokenizer->decode(ids));
    }
    return texts;
  }
  std::string refusal() const {
    const std::string text = error_of([&] { build_dataset(options_); });
    EXPECT_FALSE(std::filesystem::exists(options_.output + ".idx"));
    EXPECT_FALSE(std::filesystem::exists(options_.output + ".bin"));
    return text;
  }
  std::string bytes() const {
    return read_file(options_.output + ".idx") + read_file(options_.output + ".bin");
  }

  // Many files of many sizes, some far larger than the pieces below.
  void make_corpus() const {
    Random random(17);
    for (int i = 0; i < 200; ++i) {
      std::string text;
      const std::int64_t lines = i % 40 == 0 ? 400 : random.between(0, 8);
      for (std::int64_t line = 0; line < lines; ++line) {
        for (std::int64_t word = random.between(0, 12); word > 0; --word) {
          text += random.between(0, 30) == 0 ? "\xe2\x82\xac " : "token ";
        }
        text += '\n';
      }
      put("text/" + std::to_string(i % 7) + "/" + std::to_string(i), text);
    }
  }

  BuildOptions options_;
};

}  // namespace infinipipe
