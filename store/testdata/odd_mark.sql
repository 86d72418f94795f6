update "Bil""ling"."select" as t set
a = 2, b = false -- both
where t."Ord-er" = any($1::bigint[]) and t."Ord-er" between $2::bigint and $3::bigint
  and $4::bigint in (0, (select 0::bigint))
