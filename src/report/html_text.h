// Text for HTML and SVG.
#pragma once

#include <string>

namespace infinipipe {

// With & < > and double quotes as entities: for content and for attributes in double quotes.
std::string escaped_html(const std::string& text);

}  // namespace infinipipe
