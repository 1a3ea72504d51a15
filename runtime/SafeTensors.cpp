//===- SafeTensors.cpp - Reading and writing safetensors ------------------===//

#include "SafeTensors.h"
#include "Checked.h"
#include "Json.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

using namespace sparse::runtime;

static constexpr uint64_t maxHeader = 100000000;

SafeTensors::SafeTensors(Mapping bytes, const std::string &path)
    : map(std::move(bytes)) {
  const char *where = path.c_str();
  if (map.size() < 8)
    fail(Code::InvalidArgument, "%s: shorter than its header length", where);
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i)
    length = length << 8 | map.data()[i];
  if (length > maxHeader || length > map.size() - 8)
    fail(Code::InvalidArgument, "%s: header length %llu is out of bounds",
         where, static_cast<unsigned long long>(length));
  const uint8_t *data = map.data() + 8 + length;
  uint64_t dataBytes = map.size() - 8 - length;
  std::string text(reinterpret_cast<const char *>(map.data()) + 8, length);
  if (text.empty() || text[0] != '{')
    fail(Code::InvalidArgument, "%s: the header is not a JSON object", where);
  Json json = parseJson(text, path);
  JsonRef root(json, path);

  struct Range {
    uint64_t begin, end;
  };
  std::vector<Range> ranges;
  for (auto it = json.begin(); it != json.end(); ++it) {
    if (it.key() == "__metadata__")
      continue;
    JsonRef entry(it.value(), path + ":" + it.key());
    TensorView view;
    if (!parseDType(entry.getString("dtype"), view.dtype))
      entry.at("dtype").fail("unknown element type");
    uint64_t elements = 1;
    JsonRef shape = entry.at("shape");
    for (size_t i = 0, e = shape.size(); i != e; ++i) {
      view.shape.push_back(shape.at(i).asInt(0, int64_t(1) << 46));
      elements = checkedMul(elements, view.shape.back());
    }
    JsonRef offsets = entry.at("data_offsets");
    if (offsets.size() != 2)
      offsets.fail("expected two offsets");
    uint64_t begin = offsets.at(size_t(0)).asInt(0, INT64_MAX);
    uint64_t end = offsets.at(1).asInt(0, INT64_MAX);
    if (begin > end || end > dataBytes)
      offsets.fail("out of bounds of the file");
    if (end - begin != checkedMul(elements, dtypeBytes(view.dtype)))
      offsets.fail("the range is not the size of the tensor");
    view.data = data + begin;
    view.bytes = end - begin;
    ranges.push_back({begin, end});
    views.emplace(it.key(), std::move(view));
  }
  std::sort(ranges.begin(), ranges.end(), [](const Range &a, const Range &b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t covered = 0;
  for (const Range &range : ranges) {
    if (range.begin != covered)
      root.fail(range.begin < covered ? "two tensors overlap"
                                      : "there is a hole between two tensors");
    covered = range.end;
  }
  if (covered != dataBytes)
    root.fail("there are bytes after the last tensor");
}

const TensorView *SafeTensors::find(const std::string &name) const {
  auto it = views.find(name);
  return it == views.end() ? nullptr : &it->second;
}

void sparse::runtime::writeSafeTensors(
    const std::string &path, const std::vector<TensorToWrite> &tensors) {
  Json json = Json::object();
  uint64_t offset = 0;
  for (const TensorToWrite &tensor : tensors) {
    json[tensor.name] = {{"dtype", tensor.dtype},
                         {"shape", tensor.shape},
                         {"data_offsets", {offset, offset + tensor.bytes}}};
    offset += tensor.bytes;
  }
  std::string header = json.dump();
  header.resize(alignTo(header.size() + 8, 64) - 8, ' ');
  uint8_t length[8];
  for (int i = 0; i < 8; ++i)
    length[i] = static_cast<uint8_t>(header.size() >> (8 * i));

  std::FILE *file = std::fopen(path.c_str(), "wb");
  if (!file)
    fail(Code::InvalidArgument, "cannot write %s: %s", path.c_str(),
         std::strerror(errno));
  bool ok = std::fwrite(length, 1, 8, file) == 8 &&
            std::fwrite(header.data(), 1, header.size(), file) == header.size();
  for (const TensorToWrite &tensor : tensors)
    ok = ok && (tensor.bytes == 0 || std::fwrite(tensor.data, 1, tensor.bytes,
                                                 file) == tensor.bytes);
  ok = (std::fclose(file) == 0) && ok;
  if (!ok)
    fail(Code::ResourceExhausted, "cannot write %s: %s", path.c_str(),
         std::strerror(errno));
}
