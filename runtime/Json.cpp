//===- Json.cpp - Strict access to JSON -----------------------------------===//

#include "Json.h"
#include "Status.h"

#include <set>
#include <vector>

using namespace sparse::runtime;

Json sparse::runtime::parseJson(const std::string &text,
                                const std::string &where) {
  std::vector<std::set<std::string>> keys;
  std::string duplicate;
  bool tooDeep = false;
  auto watch = [&](int depth, Json::parse_event_t event, Json &parsed) {
    // The depth is bounded because destroying a value recurses.
    tooDeep |= depth > 64;
    switch (event) {
    case Json::parse_event_t::object_start:
      keys.emplace_back();
      break;
    case Json::parse_event_t::object_end:
      keys.pop_back();
      break;
    case Json::parse_event_t::key:
      if (!keys.back().insert(parsed.get<std::string>()).second)
        duplicate = parsed.get<std::string>();
      break;
    default:
      break;
    }
    return true;
  };
  Json json;
  try {
    json = Json::parse(text, watch);
  } catch (const nlohmann::json::exception &e) {
    fail(Code::InvalidArgument, "%s: %s", where.c_str(), e.what());
  }
  if (tooDeep)
    fail(Code::InvalidArgument, "%s: nested deeper than 64", where.c_str());
  if (!duplicate.empty())
    fail(Code::InvalidArgument, "%s: member '%s' appears twice", where.c_str(),
         duplicate.c_str());
  return json;
}

void JsonRef::fail(const std::string &what) const {
  sparse::runtime::fail(Code::InvalidArgument, "%s: %s", where.c_str(),
                        what.c_str());
}

void JsonRef::expectObject() const {
  if (!value.is_object())
    fail("expected an object");
}

void JsonRef::expectArray() const {
  if (!value.is_array())
    fail("expected an array");
}

bool JsonRef::has(const char *key) const {
  expectObject();
  return value.contains(key);
}

JsonRef JsonRef::at(const char *key) const {
  expectObject();
  auto it = value.find(key);
  if (it == value.end())
    fail(std::string("member '") + key + "' is missing");
  return JsonRef(*it, where + "." + key);
}

JsonRef JsonRef::at(size_t index) const {
  expectArray();
  if (index >= value.size())
    fail("expected more elements");
  return JsonRef(value[index], where + "[" + std::to_string(index) + "]");
}

size_t JsonRef::size() const {
  expectArray();
  return value.size();
}

int64_t JsonRef::asInt(int64_t min, int64_t max) const {
  bool ok = value.is_number_integer();
  int64_t result = 0;
  if (ok && value.is_number_unsigned()) {
    uint64_t wide = value.get<uint64_t>();
    ok = wide <= static_cast<uint64_t>(INT64_MAX);
    result = static_cast<int64_t>(wide);
  } else if (ok) {
    result = value.get<int64_t>();
  }
  if (!ok || result < min || result > max)
    fail("expected an integer in [" + std::to_string(min) + ", " +
         std::to_string(max) + "]");
  return result;
}

double JsonRef::asNumber() const {
  if (!value.is_number())
    fail("expected a number");
  return value.get<double>();
}

bool JsonRef::asBool() const {
  if (!value.is_boolean())
    fail("expected true or false");
  return value.get<bool>();
}

const std::string &JsonRef::asString() const {
  if (!value.is_string())
    fail("expected a string");
  return value.get_ref<const std::string &>();
}
