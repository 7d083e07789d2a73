// Pictures that stand in a text as Markdown has them, without words for who cannot see them:
// text-generation-inference fetches each `![](http...)` and `![](data:...)` of the whole prompt of
// a model that sees, wherever it came from, and counts it as a picture.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tradewind::dialects {

class PictureMarks {
 public:
  // `raw`: JSON, or the inside of one of its strings, which goes on where the one before ended:
  // servers join the texts of a message.
  void Read(std::string_view raw);
  int64_t count() const { return count_; }

 private:
  void Take(char c);

  std::string begun_;  // what has come of a mark
  int64_t count_ = 0;
};

}  // namespace tradewind::dialects
