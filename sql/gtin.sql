-- A code read wrongly would join two different products.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS product_sync;
RESET client_min_messages;
SELECT code, sync_gtin(code) FROM (VALUES
	('036000291452'), ('0-36000-29145-2'), ('4006381333931'), ('0036000291452'), ('10036000291459'), ('96385074'), ('04252614'),
	('01234531'), ('036000291453'), ('2012345678903'), ('0212345678909'), ('0412345678903'), ('00000000000000'), ('36000291452'),
	('1.23457E+12'), ('978-0-306-40615-7'), ('n/a'), ('')) v(code);
SELECT sync_gtin(NULL) IS NULL AS strict, sync_gtin(repeat('0', 1000000)) IS NULL AS bounded;
SELECT provolatile, proparallel, proisstrict FROM pg_proc WHERE proname = 'sync_gtin';
