package model

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxIDLength is the length limit of every id that a client chooses.
const MaxIDLength = 255

// CheckID says what is wrong with a client-chosen id, or "". Ids are 1 to 255
// of A-Z a-z 0-9 - _ . ~ (what needs no URL encoding); "." and ".." alone are
// refused because clients and proxies fold them out of paths.
func CheckID(id string) string {
	switch {
	case id == "":
		return "must not be empty"
	case len(id) > MaxIDLength:
		return "must be at most 255 characters long"
	case id == "." || id == "..":
		return "must not be . or .."
	}
	for i := range len(id) {
		if !unreserved(id[i]) {
			return "may hold only letters, digits and - _ . ~"
		}
	}
	return ""
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '_' || c == '.' || c == '~'
}

// CheckText says what is wrong with a free text of the given length limits
// (in characters), or "". Control characters and broken UTF-8 are refused.
func CheckText(s string, minLen, maxLen int) string {
	if !utf8.ValidString(s) {
		return "must be valid UTF-8"
	}
	n := utf8.RuneCountInString(s)
	switch {
	case n < minLen && minLen == 1:
		return "must not be empty"
	case n < minLen || n > maxLen:
		return "must be between " + strconv.Itoa(minLen) + " and " + strconv.Itoa(maxLen) + " characters long"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "must not contain control characters"
	}
	return ""
}
