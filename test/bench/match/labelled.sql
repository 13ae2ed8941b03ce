-- A labelled set: incoming, existing and pair are loaded; :name says which.  See match.sh.
DROP TABLE IF EXISTS result;
CREATE TABLE result AS SELECT * FROM sync_match('incoming', 'existing');

CREATE TEMP TABLE bar (set text, figure text, bar double precision, at_least boolean, what text);
INSERT INTO bar VALUES
	('', 'f1', NULL, true, 'p >= .5: F1'), ('', 'precision', NULL, true, 'p >= .5: precision'), ('', 'coverage', NULL, true, 'p >= .5: coverage of the true pairs'),
	('', 'precision_95', NULL, true, 'p >= .95: precision'), ('', 'lower_bound_95', NULL, true, 'p >= .95: precision, lower bound (Clopper-Pearson, 95 %)'),
	('', 'coverage_95', NULL, true, 'p >= .95: coverage of the true pairs'), ('', 'calibration_error', NULL, false, 'expected calibration error, ten bins'),
	('', 'reviewed', NULL, false, 'expected calibration error of the rest with 100 reviews, mean of 5');
UPDATE bar SET bar = v.bar
FROM (VALUES ('abt-buy', 'f1', 0.96), ('abt-buy', 'precision_95', 0.99), ('abt-buy', 'coverage_95', 0.90), ('abt-buy', 'calibration_error', 0.03),
	('abt-buy', 'reviewed', 0.02), ('walmart-amazon', 'f1', 0.80)) v(set, figure, bar)
WHERE v.set = :'name' AND v.figure = bar.figure;

SELECT figures.line(:'name' || ': ' || b.what, q.value, b.bar, b.at_least)
FROM figures.quality('result') WITH ORDINALITY q(figure, value, no) JOIN bar b USING (figure) ORDER BY q.no;

CREATE TEMP TABLE reviews AS SELECT * FROM figures.with_reviews(:'name', 100, 5);
SELECT coalesce(
	(SELECT figures.line(:'name' || ': ' || b.what, r.value, b.bar, b.at_least) FROM reviews r JOIN bar b ON b.figure = 'reviewed' WHERE r.figure = 'calibration_error'),
	:'name' || ': with 100 reviews: not built yet');
SELECT figures.line(format('%s: with 100 reviews, p >= .95: %s', :'name', CASE figure WHEN 'precision_95' THEN 'precision' ELSE 'true pairs found, of all' END), value, NULL, true)
FROM reviews WHERE figure IN ('precision_95', 'coverage_95') ORDER BY figure DESC;

SELECT figures.line(:'name' || ': candidate recall, 20 candidates', r, NULL, true)
FROM figures.candidate_recall(20) r;

-- Without the true matches whatever is approved is wrong.
DELETE FROM existing e USING pair p WHERE p.existing_id = e.id;
SELECT figures.line(:'name' || ': new products only, approved at p >= .95 per 1,000 incoming',
	1000.0 * count(*) FILTER (WHERE m.confidence >= 0.95) / (SELECT count(*) FROM incoming), 2, false, '', 2)
FROM sync_match('incoming', 'existing') m;
