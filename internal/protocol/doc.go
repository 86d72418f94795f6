// Package protocol holds tests only.
package protocol
