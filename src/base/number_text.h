// Numbers as messages and files show them.
#pragma once

#include <string>

namespace infinipipe {

// The shortest text that reads back as the same number, whole numbers below 1e15 without a point:
// "0.1", "3", "1e-09", "nan", "-inf".
std::string number_text(double value);

}  // namespace infinipipe
