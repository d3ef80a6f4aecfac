package reference

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// SchemaFile is where packages put the schema. The first line of a configuration may name it for an editor.
const SchemaFile = "/usr/share/uplinkd/uplinkd.schema.json"

// ModelLine has an editor with a language server for YAML read the schema.
const ModelLine = "# yaml-language-server: $schema=" + SchemaFile

// durationPattern is what time.ParseDuration takes, without a sign.
const durationPattern = `^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$`

// Schema returns the JSON schema of the file (draft 7, which editors' servers know). It accepts all that the parser
// accepts. What a schema cannot say it does not forbid: bounds of durations, and what keys must be together.
func Schema() ([]byte, error) {
	s := object(File(), "uplinkd.yaml(5)")
	s["$schema"] = "http://json-schema.org/draft-07/schema#"
	s["title"] = "uplinkd"
	text, err := json.MarshalIndent(s, "", "  ")
	return append(text, '\n'), err
}

type node = map[string]any

func object(keys []Key, means string) node {
	properties, required := node{}, []string{}
	for i := range keys {
		properties[keys[i].Name] = keys[i].schema()
		if keys[i].Required {
			required = append(required, keys[i].Name)
		}
	}
	n := node{"type": "object", "additionalProperties": false, "properties": properties, "description": means}
	if len(required) > 0 {
		n["required"] = required
	}
	return n
}

func (k *Key) schema() node {
	n := k.one()
	switch {
	case k.Only:
		n = node{"type": "array", "items": n}
	case k.Many:
		n = node{"anyOf": []node{n, {"type": "array", "items": k.one()}}}
	}
	n["description"] = k.Describe()
	if value, ok := k.defaultValue(); ok {
		n["default"] = value
	}
	return n
}

// one is the schema of a single value.
func (k *Key) one() node {
	switch k.Type {
	case Integer:
		n := node{"type": "integer", "minimum": number(k.Low), "maximum": number(k.High)}
		if len(k.Words) > 0 {
			return node{"anyOf": []node{n, {"enum": k.Words}}}
		}
		return n
	case Duration:
		return node{"anyOf": []node{{"type": "string", "pattern": durationPattern}, {"const": 0}}}
	case Flag:
		return node{"type": "boolean"}
	case Word:
		return node{"enum": k.Words}
	case Mapping:
		n := object(k.Keys, k.Means)
		n["type"] = []string{"object", "null"} // `probe:` with nothing below it
		if len(k.Words) > 0 {
			return node{"anyOf": []node{n, {"type": "string"}, {"type": "array", "items": node{"type": "string"}}}}
		}
		return n
	case List:
		return node{"type": "array", "items": object(k.Keys, k.Means)}
	case Text:
	}
	// Any scalar is a text to the parser: a name may be 101.
	n := node{"type": []string{"string", "number"}}
	if k.Pattern != "" {
		n["pattern"] = k.Pattern
	}
	return n
}

// Describe returns what the key means with its form, as one paragraph of plain text.
func (k *Key) Describe() string {
	parts := []string{k.Means}
	if form := k.Takes(); form != "" {
		parts = append(parts, "Takes "+form+".")
	}
	if k.Default != "" {
		parts = append(parts, "Default: "+k.Default+".")
	}
	return strings.Join(parts, " ")
}

// Takes says what may stand behind the key; "" for further keys.
func (k *Key) Takes() string {
	switch k.Type {
	case Integer:
		return strings.Join(append(append([]string{}, k.Words...), k.Low+" to "+k.High), ", ")
	case Duration:
		return "a duration from " + k.Low + " to " + k.High
	case Flag:
		return "true or false"
	case Word:
		words := strings.Join(k.Words, ", ")
		if k.Many {
			return "one or a list of " + words
		}
		return words
	case Text:
		if k.Many && !k.Only && !strings.Contains(k.Form, "list") {
			return k.Form + "; one or a list"
		}
		return k.Form
	case Mapping, List:
	}
	return ""
}

// defaultValue returns the default as a value of JSON.
func (k *Key) defaultValue() (value any, ok bool) {
	if k.Default == "" {
		return nil, false
	}
	switch {
	case k.Only:
		return strings.Split(strings.Trim(k.Default, "[]"), ", "), true
	case k.Type == Flag:
		return k.Default == "true", true
	case k.Type == Integer && !slices.Contains(k.Words, k.Default):
		return number(k.Default), true
	}
	return strings.Trim(k.Default, `"`), true
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 0, 64) // what is no number fails its test
	return n
}
