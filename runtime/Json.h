//===- Json.h - Strict access to JSON ---------------------------*- C++ -*-===//
//
// Every accessor names the place of the value, so that a malformed file gives
// one line that says what is wrong and where.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_RUNTIME_JSON_H
#define SPARSE_RUNTIME_JSON_H

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>

namespace sparse::runtime {

using Json = nlohmann::ordered_json;

/// Parses `text`; `where` is the file's name for messages. Refuses duplicate
/// members, which two parsers would read in two ways.
Json parseJson(const std::string &text, const std::string &where);

/// A JSON value and the path that leads to it.
class JsonRef {
public:
  JsonRef(const Json &value, std::string where)
      : value(value), where(std::move(where)) {}

  bool has(const char *key) const;
  JsonRef at(const char *key) const;
  JsonRef at(size_t index) const;
  size_t size() const;
  bool isNull() const { return value.is_null(); }
  bool isObject() const { return value.is_object(); }
  bool isArray() const { return value.is_array(); }
  bool isString() const { return value.is_string(); }

  int64_t asInt(int64_t min, int64_t max) const;
  double asNumber() const;
  bool asBool() const;
  const std::string &asString() const;
  void expectArray() const;
  void expectObject() const;

  int64_t getInt(const char *key, int64_t min, int64_t max) const {
    return at(key).asInt(min, max);
  }
  const std::string &getString(const char *key) const {
    return at(key).asString();
  }

  /// Throws INVALID_ARGUMENT: "<where>: <what>".
  [[noreturn]] void fail(const std::string &what) const;

  const Json &value;
  const std::string where;
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_JSON_H
