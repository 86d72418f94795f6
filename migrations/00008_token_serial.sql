-- +goose Up
alter table modulo.tokens add column serial bigint;

comment on column modulo.tokens.serial is
  'Number that the newest token of this lineage had a few seconds ago. One on the broker that is older shows that the broker lost messages.';

-- +goose Down
alter table modulo.tokens drop column serial;
