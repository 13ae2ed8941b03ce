-- The exact stage among troubled codes: incoming, existing and truth are made by test/lib/match/corruption.sql.
CREATE TABLE pair AS SELECT incoming_id, existing_id FROM truth WHERE existing_id IS NOT NULL;
CREATE TABLE result AS SELECT * FROM sync_match('incoming', 'existing');

SELECT figures.line(format('corruption, %s x %s: exact stage at p >= .95: precision', (SELECT count(*) FROM incoming), (SELECT count(*) FROM existing)),
	1 - 1.0 * sum(wrong) / greatest(sum(approved), 1), 0.999, true, '', 5)
FROM figures.exact_stage();
SELECT figures.line('corruption: exact stage at p >= .95: lower bound (Clopper-Pearson, 95 %)',
	figures.lower_bound((sum(approved) - sum(wrong))::bigint, sum(approved)::bigint), NULL, true, '', 5)
FROM figures.exact_stage();
SELECT figures.line('corruption: exact stage at p >= .95: coverage of the true pairs', 1.0 * (sum(approved) - sum(wrong)) / sum(has_match), NULL, true)
FROM figures.exact_stage();
SELECT figures.line('corruption: exact stage at p >= .95: coverage of the undamaged',
	1.0 * sum(approved - wrong) / sum(has_match), NULL, true)
FROM figures.exact_stage() WHERE trouble = 'clean';
SELECT figures.line('corruption: all stages at p >= .95: precision', 1.0 * correct / greatest(claimed, 1), NULL, true, '', 5) FROM figures.at('result', 0.95);
SELECT figures.line('corruption: all stages at p >= .95: coverage of the true pairs', 1.0 * correct / pairs, NULL, true) FROM figures.at('result', 0.95);
SELECT figures.line('corruption: candidate recall, 20 candidates', r, NULL, true)
FROM figures.candidate_recall(20) r;
SELECT format('corruption:   %s %s rows, %s approved, %s of them wrong', rpad(trouble, 20), lpad(incoming::text, 6), lpad(approved::text, 6), wrong)
FROM figures.exact_stage() ORDER BY wrong DESC, trouble LIMIT 12;
-- WORST=1: three of each of these, with what spoke for them.
\getenv worst WORST
\if :{?worst}
	SELECT format(E'%s: %s %s\n  incoming %s\n  existing %s\n  truth    %s\n  %s', trouble, method, round(confidence::numeric, 3), i, e, x, evidence -> 'added')
	FROM (
		SELECT t.trouble, r.method, r.confidence, r.evidence, i, e, x, row_number() OVER (PARTITION BY t.trouble ORDER BY md5(t.incoming_id)) AS no
		FROM truth t JOIN result r USING (incoming_id) JOIN incoming i ON i.id = t.incoming_id JOIN existing e ON e.id = r.existing_id
		LEFT JOIN existing x ON x.id = t.existing_id
		WHERE r.confidence >= 0.95 AND r.method IN ('gtin', 'brand_mpn', 'sku') AND r.existing_id IS DISTINCT FROM t.existing_id) w
	WHERE no <= 3 ORDER BY trouble, no;
\endif
