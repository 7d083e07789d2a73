// For tests only: reads .npy arrays (NumPy format 1.0, little-endian, C order) and the tensors of a
// .safetensors file.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "base/bytes.h"

namespace tradewind::testing {

// The elements of `bytes`, whose header must name `descr` ("<f4", "<u2").
template <class T>
std::vector<T> ParseNpy(std::string_view bytes, std::string_view descr) {
  EXPECT_TRUE(bytes.starts_with("\x93NUMPY"));
  const size_t header = LoadLe<uint16_t>(bytes.data() + 8);
  EXPECT_NE(bytes.substr(10, header).find(descr), std::string_view::npos);
  EXPECT_NE(bytes.substr(10, header).find("'fortran_order': False"), std::string_view::npos);
  const std::string_view data = bytes.substr(10 + header);
  std::vector<T> values(data.size() / sizeof(T));
  std::memcpy(values.data(), data.data(), values.size() * sizeof(T));
  return values;
}

struct SafeTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string_view data;
};

inline std::map<std::string, SafeTensor> ParseSafeTensors(std::string_view bytes) {
  const auto header = LoadLe<uint64_t>(bytes.data());
  const std::string_view payload = bytes.substr(8 + header);
  std::map<std::string, SafeTensor> tensors;
  const boost::json::value parsed =
      boost::json::parse(bytes.substr(8, header));  // named: the loop refers into it
  for (const auto& [name, entry] : parsed.as_object()) {
    if (name == "__metadata__") {
      continue;
    }
    SafeTensor& tensor = tensors[std::string(name)];
    tensor.dtype = entry.at("dtype").as_string();
    for (const auto& dim : entry.at("shape").as_array()) {
      tensor.shape.push_back(dim.to_number<int64_t>());
    }
    const auto& offsets = entry.at("data_offsets").as_array();
    const auto begin = offsets[0].to_number<size_t>();
    tensor.data = payload.substr(begin, offsets[1].to_number<size_t>() - begin);
  }
  return tensors;
}

}  // namespace tradewind::testing
