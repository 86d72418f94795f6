package store

import (
	"context"
	"encoding/binary"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// idsCodec writes row ids as bigint[] without an allocation per id, which pgx's own needs.
type idsCodec struct{ *pgtype.ArrayCodec }

// registerIDs makes a connection use it.
func registerIDs(_ context.Context, conn *pgx.Conn) error {
	types := conn.TypeMap()
	if element, ok := types.TypeForOID(pgtype.Int8OID); ok {
		codec := idsCodec{&pgtype.ArrayCodec{ElementType: element}}
		types.RegisterType(&pgtype.Type{Name: "_int8", OID: pgtype.Int8ArrayOID, Codec: codec})
	}
	return nil
}

// PlanEncode implements pgtype.Codec.
func (c idsCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.([]int64); ok && format == pgx.BinaryFormatCode {
		return encodeIDs{}
	}
	return c.ArrayCodec.PlanEncode(m, oid, format, value)
}

type encodeIDs struct{}

// Encode implements pgtype.EncodePlan: dimensions, nulls, type; length and first index; each value with its length.
func (encodeIDs) Encode(value any, b []byte) ([]byte, error) {
	ids := value.([]int64)
	if ids == nil {
		return nil, nil
	}
	put := binary.BigEndian.AppendUint32
	if len(ids) == 0 {
		return put(put(put(b, 0), 0), pgtype.Int8OID), nil
	}
	b = put(put(put(b, 1), 0), pgtype.Int8OID)
	b = put(put(b, uint32(len(ids))), 1)
	for _, id := range ids {
		b = binary.BigEndian.AppendUint64(put(b, 8), uint64(id))
	}
	return b, nil
}
