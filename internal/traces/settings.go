package traces

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Settings are the standard variables of OpenTelemetry, as far as they are known here. Those of OTEL_EXPORTER_OTLP_TRACES_ beat those of
// OTEL_EXPORTER_OTLP_.
type Settings struct {
	Endpoint    string // URL of the requests
	Headers     map[string]string
	Timeout     time.Duration // of a request
	Compress    bool          // by gzip
	Certificate string        // file with the authorities of the collector
	Ratio       float64       // of batches that are traced
	Resource    map[string]string
}

const (
	defaultEndpoint = "http://localhost:4318"
	defaultTimeout  = 10 * time.Second
)

// FromEnvironment reads the variables. A value that is not understood is an error that names its variable, and not the
// value: it may be a secret. version is that of the program.
func FromEnvironment(lookup func(string) (string, bool), version string) (Settings, error) {
	s := Settings{Timeout: defaultTimeout, Ratio: 1}
	var problems []error
	// value is that of a variable of the exporter.
	value := func(name string) (text, variable string) {
		for _, variable := range []string{"OTEL_EXPORTER_OTLP_TRACES_" + name, "OTEL_EXPORTER_OTLP_" + name} {
			if text, ok := lookup(variable); ok && text != "" {
				return text, variable
			}
		}
		return "", ""
	}
	wrong := func(is bool, variable, want string) {
		if is {
			problems = append(problems, fmt.Errorf("%s: want %s", variable, want))
		}
	}
	var err error
	s.Endpoint, err = endpoint(lookup)
	problems = append(problems, err)
	protocol, variable := value("PROTOCOL")
	wrong(protocol != "" && protocol != "http/protobuf", variable, "http/protobuf")
	if text, variable := value("HEADERS"); text != "" {
		s.Headers, err = pairs(text)
		wrong(err != nil, variable, "name=value, several separated by commas")
	}
	if text, variable := value("TIMEOUT"); text != "" {
		milliseconds, err := strconv.Atoi(text)
		wrong(err != nil || milliseconds < 1, variable, "milliseconds")
		s.Timeout = time.Duration(milliseconds) * time.Millisecond
	}
	compression, variable := value("COMPRESSION")
	wrong(compression != "" && compression != "none" && compression != "gzip", variable, "gzip or none")
	s.Compress = compression == "gzip"
	s.Certificate, _ = value("CERTIFICATE")
	s.Ratio, err = ratio(lookup)
	problems = append(problems, err)
	s.Resource, err = resource(lookup, version)
	return s, errors.Join(append(problems, err)...)
}

// endpoint is the URL of OTEL_EXPORTER_OTLP_TRACES_ENDPOINT as it is, or that of OTEL_EXPORTER_OTLP_ENDPOINT with the path of traces.
func endpoint(lookup func(string) (string, bool)) (string, error) {
	variable := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	text, ok := lookup(variable)
	if !ok || text == "" {
		variable = "OTEL_EXPORTER_OTLP_ENDPOINT"
		text, _ = lookup(variable)
		text = strings.TrimSuffix(cmp.Or(text, defaultEndpoint), "/") + "/v1/traces"
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return "", fmt.Errorf("%s: want a URL, as in %s", variable, defaultEndpoint)
	}
	return text, nil
}

// ratio is what the sampler lets through. All our traces begin here, so the samplers that look at a parent are as the others.
func ratio(lookup func(string) (string, bool)) (float64, error) {
	sampler, _ := lookup("OTEL_TRACES_SAMPLER")
	switch strings.TrimPrefix(sampler, "parentbased_") {
	case "", "always_on":
		return 1, nil
	case "always_off":
		return 0, nil
	case "traceidratio":
		text, ok := lookup("OTEL_TRACES_SAMPLER_ARG")
		if !ok || text == "" {
			return 1, nil
		}
		share, err := strconv.ParseFloat(text, 64)
		if err != nil || !(share >= 0 && share <= 1) {
			return 1, errors.New("OTEL_TRACES_SAMPLER_ARG: want a number from 0 to 1")
		}
		return share, nil
	}
	return 1, errors.New("OTEL_TRACES_SAMPLER: want always_on, always_off or traceidratio, or one of these with parentbased_ before it")
}

func resource(lookup func(string) (string, bool), version string) (map[string]string, error) {
	attributes := map[string]string{}
	if text, ok := lookup("OTEL_RESOURCE_ATTRIBUTES"); ok && text != "" {
		var err error
		if attributes, err = pairs(text); err != nil {
			return nil, errors.New("OTEL_RESOURCE_ATTRIBUTES: want name=value, several separated by commas")
		}
	}
	name, _ := lookup("OTEL_SERVICE_NAME")
	attributes["service.name"] = cmp.Or(name, attributes["service.name"], "modulo")
	attributes["service.version"] = cmp.Or(attributes["service.version"], version)
	return attributes, nil
}

var errPairs = errors.New("not a list of name=value")

// pairs reads "a=1,b=2"; values are percent-encoded, as in the header baggage.
func pairs(text string) (map[string]string, error) {
	found := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		decoded, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !ok || name == "" || err != nil {
			return nil, errPairs
		}
		found[name] = decoded
	}
	return found, nil
}
